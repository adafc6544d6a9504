# The predictor as an image. Two targets:
#   runtime        (default, the last stage) OpenVINO, no torch:      docker build -t graysam .
#   runtime-torch  torch on the CPU, int8 the paper's way:            docker build --target runtime-torch -t graysam-torch .
# Weights are inside; nothing is fetched at run time. Any uid, a read-only root and `--network none` work.
#
# The base is pinned by tag, not by digest: an image that was imported from a tar file, as where no registry can be
# reached, has no registry digest, so that a digest here could not be built there. To pin harder, pass
#   --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:<digest>
# Every Python package is pinned, with all that it brings in, in requirements/. No "# syntax=" line, as that asks a registry.
ARG PYTHON_IMAGE=python:3.11-slim

# --- packages of the runtime target -----------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS packages-openvino
COPY requirements/base.txt requirements/openvino.txt docker/slim.sh /build/
# --no-deps: the files are complete (tests/test_requirements.py), so that nothing unpinned slips in.
RUN python -m pip install --no-cache-dir --no-compile --no-deps --target /opt/site \
        -r /build/base.txt -r /build/openvino.txt \
 && sh /build/slim.sh /opt/site

# --- packages of the runtime-torch target -----------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS packages-torch
# Where the CPU build of torch comes from; without it Linux gets the CUDA build, of several GB.
ARG TORCH_PIP_ARGS="--index-url https://download.pytorch.org/whl/cpu"
COPY requirements/base.txt requirements/torch.txt docker/slim.sh /build/
RUN python -m pip install --no-cache-dir --no-compile --no-deps --target /opt/site \
        ${TORCH_PIP_ARGS} "$(grep '^torch==' /build/torch.txt)" \
 && grep -v '^torch==' /build/torch.txt > /build/torch-rest.txt \
 && python -m pip install --no-cache-dir --no-compile --no-deps --target /opt/site \
        -r /build/base.txt -r /build/torch-rest.txt \
 && sh /build/slim.sh /opt/site

# --- the program ------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS program
WORKDIR /opt/program
COPY predict.py predict.sh ./
COPY graysam ./graysam
# Compiled here, as a read-only root cannot keep it and compiling would be paid in each timed case; unchecked, so that
# no time stamp of the build machine matters. A checkout under umask 077 must still be readable for any uid.
RUN python -m compileall -q --invalidation-mode unchecked-hash graysam predict.py \
 && chmod -R a+rX . \
 && mkdir -p inputs outputs

# --- what both targets have in common ---------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS common
# HOME: an arbitrary uid has none, and some libraries look for it. Nothing is written there when it is read-only.
ENV PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /workspace
# Both pairs of folders that predict.py looks for; mounting over them works under a read-only root, too.
RUN mkdir -p /inputs /outputs
COPY --from=program /opt/program /workspace
# Not root by default; `--user` may be anybody.
USER 1000:1000
# A plain CMD and no ENTRYPOINT: the challenge runs `/bin/bash -c "sh predict.sh"`.
CMD ["sh", "predict.sh"]

FROM common AS runtime-torch
COPY --from=packages-torch /opt/site /opt/site
COPY weights/graysam/spec.json weights/graysam/confidence.json weights/graysam/checksums.sha256 weights/graysam/model.pt /workspace/weights/graysam/
# int8 as the paper says, torch's dynamic quantization; `sh predict.sh --precision fp32` overrules it.
# Passive: OpenMP's threads sleep while they wait; spinning, they take the CPU from each other where it is shared.
ENV GRAYSAM_OPTIONS="--engine torch --precision int8" OMP_WAIT_POLICY=passive
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="graysam (torch)" \
      org.opencontainers.image.description="Box-prompted segmentation of medical images on a CPU. Not for clinical use." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM common AS runtime
COPY --from=packages-openvino /opt/site /opt/site
COPY weights/graysam/spec.json weights/graysam/confidence.json weights/graysam/checksums.sha256 /workspace/weights/graysam/
COPY weights/graysam/openvino /workspace/weights/graysam/openvino
COPY weights/graysam/openvino-int8 /workspace/weights/graysam/openvino-int8
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="graysam" \
      org.opencontainers.image.description="Box-prompted segmentation of medical images on a CPU. Not for clinical use." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
