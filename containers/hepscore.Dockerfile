# The HEPscore benchmark for Docker and Podman. What it is built from is the wheelhouse alone (see
# containers/README.md):
#     docker build --network none -f containers/hepscore.Dockerfile -t hepscore wheelhouse
#     docker run --rm --network none -v RESULTS:/results hepscore      # --gpus all for GPUs
FROM python:3.11-slim

# bound rather than copied: the wheels stay out of the image
RUN --mount=type=bind,target=/opt/wheelhouse \
    python -m pip install --no-cache-dir --no-index --find-links /opt/wheelhouse "daskhpo[torch]" \
    && mkdir /results

ENTRYPOINT ["daskhpo", "bench", "hepscore", "--out", "/results"]
