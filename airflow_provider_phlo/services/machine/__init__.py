"""What services need of the machine: ports, processes, files of variables, logs, where a project begins."""
