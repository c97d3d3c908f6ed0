# Every library comes from Debian packages; tools/packages lists them.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(absl REQUIRED)
find_package(nlohmann_json 3.7 REQUIRED)
find_package(CLI11 REQUIRED)
find_package(spdlog REQUIRED)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(Boost 1.74 REQUIRED COMPONENTS context)  # fibers of the emulated GPU
find_package(OpenSSL 3.0 REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
find_library(NUMA_LIBRARY numa REQUIRED)
if(TANDEM_CUDA)
  # Ampere to Blackwell, workstation and server cards.
  set(CMAKE_CUDA_ARCHITECTURES 80 86 89 90 100 120)
  enable_language(CUDA)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know it for CUDA 13
  find_package(CUDAToolkit REQUIRED)
endif()
