#!/bin/sh
# Takes out of a folder of Python packages what prediction on a CPU never loads, then compiles the rest.
#   sh slim.sh /opt/site
# tests/test_container.py sees whether something needed has gone: it runs every engine of the image.
set -eu
site=${1:?folder of packages}
cd "$site"

# All packages: tests, type stubs, headers, build files, command-line programs.
find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' \) -delete
rm -rf bin numpy/f2py numpy/distutils numpy/_core/include numpy/typing/tests cv2/data cv2/misc

# OpenVINO: the CPU plugin and the reader of its own model format (IR) stay. Other devices (the 9 MB cache.json is the
# GPU's), device choosers, readers of other formats, headers and converters go; without the converters
# `import openvino` is quicker, too.
if [ -d openvino ]; then
    rm -rf openvino/include openvino/cmake openvino/tools openvino/torch openvino_telemetry
    cd openvino/libs
    for library in libopenvino_*; do
        case $library in
            libopenvino_intel_cpu_plugin.so | libopenvino_ir_frontend.so.*) ;;
            *) rm "$library" ;;
        esac
    done
    rm -f cache.json
    cd "$site"
fi

# torch: headers and programs for compiling extensions; torch_shm_manager is looked for by `import torch`. The Python
# modules stay, as the import reaches many.
if [ -d torch ]; then
    rm -rf torch/include torch/share
    find torch/bin -type f ! -name torch_shm_manager -delete
fi

# Compiled once here: under a read-only root it would be done anew in every run. Unchecked: no time stamp matters.
find . -type d -name __pycache__ -prune -exec rm -rf {} +
python -m compileall -q -j 0 --invalidation-mode unchecked-hash . || true # templates that are no valid Python
chmod -R a+rX .
