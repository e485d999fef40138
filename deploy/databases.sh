#!/bin/sh
# Makes a database for each part of the stack, owned by a role of its own, roles that read
# the marts only (every row of them: row policies are for those who come over the API), and
# the one that serves them, with an empty schema to serve.
# The image of PostgreSQL runs it once, when its volume is empty, with the passwords in its environment.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv airflow AIRFLOW_DATABASE_PASSWORD
\getenv catalog CATALOG_DATABASE_PASSWORD
\getenv marts MARTS_PASSWORD
\getenv marts_reader MARTS_READER_PASSWORD
\getenv authenticator AUTHENTICATOR_PASSWORD
\getenv hasura HASURA_DATABASE_PASSWORD
\getenv superset SUPERSET_DATABASE_PASSWORD
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE ROLE catalog LOGIN PASSWORD :'catalog';
CREATE ROLE marts LOGIN CREATEROLE PASSWORD :'marts';
CREATE ROLE marts_reader LOGIN BYPASSRLS PASSWORD :'marts_reader';
CREATE ROLE authenticator LOGIN NOINHERIT PASSWORD :'authenticator';
CREATE ROLE hasura LOGIN BYPASSRLS PASSWORD :'hasura';
CREATE ROLE superset LOGIN PASSWORD :'superset';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE catalog OWNER catalog;
CREATE DATABASE hasura OWNER hasura;
CREATE DATABASE marts OWNER marts;
CREATE DATABASE superset OWNER superset;
REVOKE CONNECT, TEMPORARY ON DATABASE airflow, catalog, hasura, marts, postgres, superset FROM PUBLIC;
GRANT CONNECT ON DATABASE marts TO authenticator, hasura, marts_reader;
GRANT pg_read_all_data TO hasura, marts_reader;
-- what PostgREST needs to start; phlo api generate-views --apply fills it
\connect marts
SET ROLE marts;
CREATE SCHEMA api;
CREATE ROLE api_anon NOLOGIN NOINHERIT;
GRANT api_anon TO authenticator WITH INHERIT FALSE, SET TRUE;
SQL
