"""Commands about a project and its services: init, doctor, env, test, services."""
