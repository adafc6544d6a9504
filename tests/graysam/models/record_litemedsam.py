"""Record outputs of the public LiteMedSAM for test_tiny_vit.py; needs its code and its released weights.

    PYTHONPATH=. python tests/graysam/models/record_litemedsam.py --medsam DIR --checkpoint lite_medsam.pth

DIR: bowang-lab/MedSAM, branch LiteMedSAM, at b0fab47. The weights: `make weights-litemedsam` leaves them in
weights/litemedsam. What the originals import but do not use here (timm, torchvision) is replaced by stand-ins. Networks
run in float64 (the prompt encoder casts to float32), on seeded weights and on the released ones; stored as float32.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import seeded
from originals import TORCHVISION, as_float32, checkouts_from, stand_in, stand_in_for_timm, write_keys, write_outputs

INFERENCE_SCRIPT = "CVPR24_LiteMedSAM_infer.py"


def original_model(state: dict[str, torch.Tensor] | None) -> Any:
    """Build the public model with the numbers of its inference script; on seeded weights where none are given."""
    stand_in(*TORCHVISION)
    stand_in_for_timm()
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
    from tiny_vit_sam import TinyViT

    model = torch.nn.ModuleDict(
        {
            "image_encoder": TinyViT(
                img_size=256,
                embed_dims=[64, 128, 160, 320],
                depths=[2, 2, 6, 2],
                num_heads=[2, 4, 5, 10],
                window_sizes=[7, 7, 14, 7],
                drop_path_rate=0.0,
            ),
            "prompt_encoder": PromptEncoder(
                embed_dim=256, image_embedding_size=(64, 64), input_image_size=(256, 256), mask_in_chans=16
            ),
            "mask_decoder": MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
                transformer_dim=256,
            ),
        }
    )
    model.load_state_dict(seeded.seeded_state(model) if state is None else state)
    return model.double().eval()


def record_networks(model: Any) -> dict[str, np.ndarray]:
    """Run the encoder on the seeded canvas, and the decoder on the seeded boxes, one at a time."""
    embedding = model.image_encoder(torch.from_numpy(seeded.canvas()).double())
    logits, iou = [], []
    prompt_encoder = model.prompt_encoder.float()  # casts positions to float32 itself
    for box in torch.from_numpy(seeded.BOXES):
        sparse, dense = prompt_encoder(points=None, boxes=box[None, None], masks=None)
        masks, ious = model.mask_decoder(
            image_embeddings=embedding,
            image_pe=prompt_encoder.get_dense_pe().double(),
            sparse_prompt_embeddings=sparse.double(),
            dense_prompt_embeddings=dense.double(),
            multimask_output=False,
        )
        logits.append(masks[:, 0, ::8, ::8])
        iou.append(ious[:, 0])
    found = {"embedding": embedding[:, ::16, ::4, ::4], "logits": torch.cat(logits), "iou": torch.cat(iou)}
    return as_float32(found)


def record_canvases(script: Path) -> dict[str, np.ndarray]:
    """Prepare the seeded images as the body of the public `MedSAM_infer_npz_2D` does."""
    resize, pad = _functions(script, "resize_longest_side", "pad_image")
    canvases = {}
    for name, image in seeded.images().items():
        small = resize(image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=-1), 256)
        unit = (small - small.min()) / np.clip(small.max() - small.min(), a_min=1e-8, a_max=None)
        canvas = torch.tensor(pad(unit, 256)).float().permute(2, 0, 1)
        canvases[f"canvas.{name}"] = canvas[:, ::7, ::7].numpy()
    return canvases


def _functions(script: Path, *names: str) -> list[Callable[..., np.ndarray]]:
    """Take functions out of a script that would start to work when it is imported."""
    tree = ast.parse(script.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    space: dict[str, Any] = {"cv2": cv2, "np": np}
    exec(compile(tree, str(script), "exec"), space)
    return [space[name] for name in names]


def main(argv: Sequence[str] | None = None) -> int:
    """Write data/litemedsam_outputs.npz and data/litemedsam_encoder_keys.txt."""
    medsam, checkpoint = checkouts_from(argv, __doc__, "medsam", files=["checkpoint"])
    released = torch.load(checkpoint, map_location="cpu", weights_only=True)
    stored = record_canvases(medsam / INFERENCE_SCRIPT)
    with torch.inference_mode():
        for kind, state in (("seeded", None), ("released", released)):
            model = original_model(state)
            stored |= {f"{kind}.{name}": value for name, value in record_networks(model).items()}
    write_outputs("litemedsam", stored)
    write_keys("litemedsam_encoder", model.image_encoder.state_dict())
    return 0


if __name__ == "__main__":
    sys.exit(main())
