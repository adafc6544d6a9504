"""Record outputs of the public SAM with a small vision transformer for test_vit.py; needs its code.

    PYTHONPATH=. python tests/graysam/models/record_vit.py --segment-anything DIR

DIR: facebookresearch/segment-anything at dca509f. What it imports but does not use here (torchvision) is replaced by
empty stand-ins. Run in float64 (the prompt encoder casts to float32) on seeded weights; stored as float32. The names
and shapes of the whole ViT-B come from its own builder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import seeded
from originals import TORCHVISION, as_float32, checkouts_from, stand_in, write_keys, write_outputs


def small_model() -> Any:
    """Build the public model small: 8 x 8 cells of 8 pixels, windows of 3 cells, which do not fit evenly."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

    model = torch.nn.ModuleDict(
        {
            "image_encoder": ImageEncoderViT(
                img_size=64,
                patch_size=8,
                embed_dim=32,
                depth=3,
                num_heads=4,
                out_chans=256,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=3,
                global_attn_indexes=(1,),
            ),
            "prompt_encoder": PromptEncoder(
                embed_dim=256, image_embedding_size=(8, 8), input_image_size=(64, 64), mask_in_chans=16
            ),
            "mask_decoder": MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
                transformer_dim=256,
            ),
        }
    )
    model.load_state_dict(seeded.seeded_state(model))
    return model.double().eval()


def record(model: Any) -> dict[str, np.ndarray]:
    """Run the encoder on the seeded canvas of 64 pixels, and the decoder on a quarter of the seeded boxes."""
    embedding = model.image_encoder(torch.from_numpy(seeded.canvas(64)).double())
    logits, iou = [], []
    prompt_encoder = model.prompt_encoder.float()  # casts positions to float32 itself
    for box in torch.from_numpy(seeded.BOXES / 4):
        sparse, dense = prompt_encoder(points=None, boxes=box[None], masks=None)
        masks, ious = model.mask_decoder(
            image_embeddings=embedding,
            image_pe=prompt_encoder.get_dense_pe().double(),
            sparse_prompt_embeddings=sparse.double(),
            dense_prompt_embeddings=dense.double(),
            multimask_output=False,
        )
        logits.append(masks[:, 0, ::2, ::2])
        iou.append(ious[:, 0])
    found = {"embedding": embedding[:, ::8], "logits": torch.cat(logits), "iou": torch.cat(iou)}
    return as_float32(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Write data/vit_outputs.npz and data/sam_vit_b_keys.txt."""
    checkouts_from(argv, __doc__, "segment-anything")
    stand_in(*TORCHVISION)
    from segment_anything.build_sam import build_sam_vit_b

    with torch.device("meta"):
        whole = build_sam_vit_b()
    write_keys("sam_vit_b", whole.state_dict())
    with torch.inference_mode():
        write_outputs("vit", record(small_model()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
