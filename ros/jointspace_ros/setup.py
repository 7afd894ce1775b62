"""How ament builds and installs the package; see package.xml for what it needs."""  # noqa: INP001 - a build script

from setuptools import find_packages, setup

NAME = "jointspace_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/jointspace.launch.py"]),
        (f"share/{NAME}/config", ["config/params.yaml"]),
    ],
    # jointspace itself comes from pip: ROS has no key for it.
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="The jointspace developers",
    maintainer_email="jointspace@example.org",
    description="Drives a robot by camera and language with a jointspace bundle",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"jointspace_node = {NAME}.main:main"]},
)
