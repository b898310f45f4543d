# Sourced: the shell variables under which the workspace's programs run. The caller stands in the checkout's root.
fedvit_root=$PWD
if [ -d "$fedvit_root/.venv" ]; then
  fedvit_venv=$(readlink -f "$fedvit_root/.venv")
  export VIRTUAL_ENV=$fedvit_venv PATH=$fedvit_venv/bin:$PATH
  export AMENT_PREFIX_PATH=$fedvit_venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH} CMAKE_PREFIX_PATH=$fedvit_venv${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
fi
if [ -f "$fedvit_root/install/local_setup.bash" ]; then
  # colcon's script reads variables that may not be set.
  case $- in *u*) fedvit_nounset=1; set +u ;; *) fedvit_nounset= ;; esac
  COLCON_CURRENT_PREFIX=$fedvit_root/install source "$fedvit_root/install/local_setup.bash"
  [ -n "$fedvit_nounset" ] && set -u
fi
# Fast DDS drops large images without this profile; Jazzy reads the first variable, Kilted the second.
export FASTRTPS_DEFAULT_PROFILES_FILE=$fedvit_root/config/fastdds.xml FASTDDS_DEFAULT_PROFILES_FILE=$fedvit_root/config/fastdds.xml
export RMW_IMPLEMENTATION=${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp} ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
# numpy's threads wait for each other by spinning: on a loaded machine a matrix product then takes ten times as long.
export OPENBLAS_NUM_THREADS=1
export MUJOCO_GL=${MUJOCO_GL:-egl} PYTHONUNBUFFERED=1
