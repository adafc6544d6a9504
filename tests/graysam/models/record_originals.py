"""Record outputs of the public EfficientViT-SAM-L0 for test_parity.py; needs checkouts of the original code.

    PYTHONPATH=. python tests/graysam/models/record_originals.py --efficientvit DIR --segment-anything DIR

DIR: mit-han-lab/efficientvit at de7d773 and facebookresearch/segment-anything at dca509f. What the originals
import but do not use here (torchvision, triton, omegaconf) is replaced by empty stand-ins. Run in float64
(the prompt encoder casts to float32); stored as float32.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import seeded
from originals import TORCHVISION, as_float32, checkouts_from, stand_in, write_keys, write_outputs

STAND_INS = (
    *TORCHVISION,
    "triton",
    "triton.language",
    "omegaconf",
    "efficientvit.apps",
    "efficientvit.apps.trainer",
    "efficientvit.apps.trainer.run_config",
)


def original_model() -> Any:
    """Build the public model as its own loader does, on seeded weights, with prompts on a canvas of 256."""
    stand_in(*STAND_INS)
    from efficientvit.models.efficientvit.sam import efficientvit_sam_l0
    from efficientvit.models.nn.norm import set_norm_eps

    model = efficientvit_sam_l0()
    set_norm_eps(model, 1e-6)
    model.prompt_encoder.input_image_size = (256, 256)
    model.load_state_dict(seeded.seeded_state(model))
    return model.double().eval()


def record(model: Any) -> dict[str, np.ndarray]:
    """Run the encoder with both necks, and the prompt encoder with the mask decoder, one box at a time."""
    canvas = torch.from_numpy(seeded.canvas()).double()
    out = {"encoder_64": model.image_encoder(canvas)[:, ::8, ::4, ::4]}
    for op in model.image_encoder.neck.input_ops:
        op.op_list[1].size = [32, 32]
    out["encoder_32"] = model.image_encoder(canvas)[:, ::8, ::2, ::2]
    logits, iou = [], []
    prompt_encoder = model.prompt_encoder.float()  # casts positions to float32 itself
    for box in torch.from_numpy(seeded.BOXES):
        sparse, dense = prompt_encoder(points=None, boxes=box[None], masks=None)
        masks = model.mask_decoder.predict_masks(
            image_embeddings=torch.from_numpy(seeded.embedding()).double(),
            image_pe=prompt_encoder.get_dense_pe().double(),
            sparse_prompt_embeddings=sparse.double(),
            dense_prompt_embeddings=dense.double(),
        )
        logits.append(masks[0][:, :, ::8, ::8])
        iou.append(masks[1])
    out |= {"logits": torch.cat(logits), "iou": torch.cat(iou)}
    return as_float32(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Write data/original_outputs.npz and data/original_keys.txt."""
    checkouts_from(argv, __doc__, "efficientvit", "segment-anything")
    model = original_model()
    write_keys("original", model.state_dict())
    with torch.inference_mode():
        write_outputs("original", record(model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
