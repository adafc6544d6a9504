"""Record outputs of the public Swin-LiteMedSAM for test_swin.py; needs its code, and einops.

    python tests/graysam/models/record_swin.py --swin-litemedsam DIR

DIR: RuochenGao/Swin_LiteMedSAM at 71d72a8. What it imports but does not use here (timm) is replaced by stand-ins.
Networks run in float64 (the prompt encoder casts to float32), on seeded weights; stored as float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import seeded

DATA = Path(__file__).parent / "data"
MASKS = ("upper_lower_mask", "left_right_mask")
"""Fixed by the window; a seed would change what they mean."""


def _put_stand_ins() -> None:
    layers = ModuleType("timm.models.layers")
    parts: dict[str, Any] = {
        "DropPath": torch.nn.Identity,
        "to_2tuple": lambda side: (side, side),
        "trunc_normal_": torch.nn.init.trunc_normal_,
    }
    for name, part in parts.items():
        setattr(layers, name, part)
    for module in (ModuleType("timm"), ModuleType("timm.models"), layers):
        sys.modules[module.__name__] = module


def original_model() -> Any:
    """Build the public model with the numbers of its inference script, on seeded weights."""
    _put_stand_ins()
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
    return {name: value.numpy().astype(np.float32) for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Write data/swin_outputs.npz and data/swin_keys.txt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swin-litemedsam", type=Path, required=True)
    options = parser.parse_args(argv)
    sys.path.insert(0, str(options.swin_litemedsam))
    model = original_model()
    lines = [f"{key} {'x'.join(map(str, value.shape))}" for key, value in model.state_dict().items()]
    (DATA / "swin_keys.txt").write_text("\n".join(lines) + "\n")
    with torch.inference_mode():
        np.savez_compressed(DATA / "swin_outputs.npz", **record(model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
