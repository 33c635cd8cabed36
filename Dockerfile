# The image of the `pull-secrets` command line, such as for the daily audit inside a cluster. It holds no Pulumi.
FROM python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY pyproject.toml uv.lock README.md LICENSE .gitlab-ci.yml ./
COPY .ci .ci
COPY .github .github
COPY docs/stack.schema.json docs/
COPY pullsecrets pullsecrets
RUN uv sync --locked --no-default-groups --no-editable

FROM python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /stack
USER 65532:65532
ENTRYPOINT ["pull-secrets"]
CMD ["--help"]
