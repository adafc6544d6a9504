"""Make the files that prediction loads: `python -m graysam.export --checkpoint runs/x/best.pt --out weights/graysam`.

From a checkpoint come, in the output folder,

    model.pt                     the weights (float16 kernels) and the spec, for the torch engine
    spec.json                    the spec, for engines that read no checkpoint
    openvino/encoder, decoder    OpenVINO networks (.xml, .bin), weights stored as float16
    openvino-int8/...            the same, quantized: made with --calibration only
    calibration.json             which slices and boxes the quantization looked at
    checksums.sha256             of all of these, as `sha256sum -c` reads them

The same checkpoint, calibration and versions give the same files.
"""

from __future__ import annotations

from graysam.export.folder import export

__all__ = ["export"]
