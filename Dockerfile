# Runs a study and serves its results; docs/running.md has the commands. Same packages as `make env`.
FROM python:3.13-slim
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 wbcstudy
USER wbcstudy
WORKDIR /home/wbcstudy/wbcstudy
COPY --chown=wbcstudy:wbcstudy . .
RUN make env && rm -rf ~/.cache/pip && mkdir -p outputs data
ENV STUDY=params/demo.yaml
EXPOSE 8000
CMD ["sh", "-c", ".venv/bin/wbcstudy run \"$STUDY\"; exec .venv/bin/python -m http.server 8000 --directory outputs"]
