"""Runs the node in the Python that has jointspace: `python -m jointspace_ros --ros-args ...`.

The console script takes the Python that colcon ran with, which may be another.
"""

import sys

from jointspace_ros.main import main

sys.exit(main())
