# Airflow with this project's wheel, DAG files and dbt models: for docker-compose.yaml and Airflow's Helm chart.
FROM python:3.12.12-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM apache/airflow:3.3.2-python3.12
# the base image's user, in the group root: as Airflow's own images, it runs under any user id
USER airflow
COPY --chown=airflow:0 constraints.txt /tmp/phlo/
COPY --from=wheel --chown=airflow:0 /wheels/ /tmp/phlo/
RUN wheel="$(ls /tmp/phlo/airflow_provider_phlo-*.whl)" \
    && uv pip install --no-cache -c /tmp/phlo/constraints.txt "${wheel}[trino,celery]" \
    && rm -r /tmp/phlo \
    && mkdir -p /opt/airflow/phlo /opt/airflow/state
COPY --chown=airflow:0 dags/ /opt/airflow/phlo/dags/
COPY --chown=airflow:0 include/ /opt/airflow/phlo/include/
COPY --chown=airflow:0 phlo.yaml /opt/airflow/phlo/
ENV AIRFLOW__CORE__DAGS_FOLDER=/opt/airflow/phlo/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    PHLO_HOME=/opt/airflow/state \
    PYTHONPATH=/opt/airflow/phlo
WORKDIR /opt/airflow/phlo
