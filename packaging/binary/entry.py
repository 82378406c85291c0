"""Where the built program begins. What differs from an installation by pip is put right here, and nowhere else."""

import os
import sys

# The loader points the library path at the program's own. What the daemon starts must find the system's.
own = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
os.environ.pop("LD_LIBRARY_PATH", None)
if own is not None:
    os.environ["LD_LIBRARY_PATH"] = own

if sys.argv[1:2] == ["--bounded"]:  # a worker process of the daemon, see reportd.adapters.worker_processes
    from reportd.adapters.worker_processes.child import main as work

    sys.exit(work(sys.argv[2:]))

from reportd.cli.main import main  # noqa: E402 - after the environment is as it was

sys.exit(main())
