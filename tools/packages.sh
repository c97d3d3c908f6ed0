# Debian / Ubuntu packages that Tandem needs, listed once; sourced by tools/run, tools/test and .ci/run.
PACKAGES_BUILD=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev  # RPC
  libhwloc-dev libnuma-dev                                                            # machine
  libboost-context-dev                                                                # emulated GPU
  libboost-dev libssl-dev prometheus-cpp-dev                                          # HTTP, TLS, metrics
  libsqlite3-dev                                                                      # journals of batches
  nlohmann-json3-dev libcli11-dev libspdlog-dev libxxhash-dev                         # text
)
PACKAGES_TEST=(libgtest-dev libgmock-dev libsimde-dev libpcre2-dev python3 python3-venv chromium)
# A cluster for one test; only .ci/run installs it, the test is skipped without it.
PACKAGES_CLUSTER=(slurmctld slurmd slurm-client)
PACKAGES_STYLE=(clang-format-14 binutils)

# What clang's sanitizers and libFuzzer need: the package that goes with the version of clang here.
clang_runtime_package() {
  local major
  major=$(clang --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
  echo "libclang-rt-$major-dev"
}

# install_packages NAME...: installs what is missing, with root or sudo; does nothing when all is there.
install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "These packages are missing: ${missing[*]}" >&2
      echo "Install them as root: apt-get install ${missing[*]}" >&2
      return 1
    }
    sudo=(sudo)
  fi
  echo "Installing ${#missing[@]} packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    "${sudo[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "apt-get failed; its whole output is in $log" >&2
    return 1
  fi
  rm -f "$log"
}
