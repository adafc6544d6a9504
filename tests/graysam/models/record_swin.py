"""Record outputs of the public Swin-LiteMedSAM for test_swin.py; needs its code, and einops.

    PYTHONPATH=. python tests/graysam/models/record_swin.py --swin-litemedsam DIR

DIR: RuochenGao/Swin_LiteMedSAM at 71d72a8. What it imports but does not use here (timm) is replaced by stand-ins.
Networks run in float64 (the prompt encoder casts to float32), on seeded weights; stored as float32.
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
from originals import as_float32, checkouts_from, stand_in_for_timm, write_keys, write_outputs

MASKS = ("upper_lower_mask", "left_right_mask")
"""Fixed by the window; a seed would change what they mean."""


def original_model() -> Any:
    """Build the public model with the numbers of its inference script, on seeded weights."""
    stand_in_for_timm()
    from models import MaskDecoder_Prompt, PromptEncoder, SwinTransformer, TwoWayTransformer

    model = torch.nn.ModuleDict(
        {
            "image_encoder": SwinTransformer(),
            "prompt_encoder": PromptEncoder(
                embed_dim=256, image_embedding_size=(64, 64), input_image_size=(256, 256), mask_in_chans=16
            ),
            "mask_decoder": MaskDecoder_Prompt(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
                transformer_dim=256,
            ),
        }
    )
    state = {key: value for key, value in seeded.seeded_state(model).items() if not key.endswith(MASKS)}
    model.load_state_dict(state, strict=False)
    return model.double().eval()


def record(model: Any) -> dict[str, np.ndarray]:
    """Run the encoder on the seeded canvas, and the decoder on the seeded prompts, one at a time."""
    embedding, stages = model.image_encoder(torch.from_numpy(seeded.canvas()).double())
    logits, iou = [], []
    prompt_encoder = model.prompt_encoder.float()  # casts positions to float32 itself
    for box, points, scribble in zip(seeded.BOXES, seeded.points(), seeded.scribbles(), strict=True):
        sparse, dense = prompt_encoder(
            points=(torch.from_numpy(points)[None], torch.ones(1, len(points), dtype=torch.long)),
            boxes=torch.from_numpy(box)[None, None],
            masks=torch.from_numpy(scribble)[None],
            tokens=None,
        )
        masks, ious = model.mask_decoder(
            stages,
            image_embeddings=embedding,
            image_pe=prompt_encoder.get_dense_pe().double(),
            sparse_prompt_embeddings=sparse.double(),
            dense_prompt_embeddings=dense.double(),
            multimask_output=False,
        )
        logits.append(masks[:, 0, ::8, ::8])
        iou.append(ious[:, 0])
    found = {"embedding": embedding[:, ::16, ::4, ::4], "logits": torch.cat(logits), "iou": torch.cat(iou)}
    for number, stage in enumerate(stages):
        step = stage.shape[2] // 8
        found[f"stage{number + 1}"] = stage[:, ::20, ::step, ::step]
    return as_float32(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Write data/swin_outputs.npz and data/swin_keys.txt."""
    checkouts_from(argv, __doc__, "swin-litemedsam")
    model = original_model()
    write_keys("swin", model.state_dict())
    with torch.inference_mode():
        write_outputs("swin", record(model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
