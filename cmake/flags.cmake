# Warnings, sanitizers, and per-file instruction sets.
# Designated initialisers leave out what keeps its default (-Wno-missing-field-initializers).
# -Wno-restrict: GCC 12 reports a false overlap in std::string (GCC bug 105329).
add_compile_options(
  "$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wno-unused-parameter;-Wno-missing-field-initializers;-Wno-restrict;-fno-strict-aliasing>")
if(TANDEM_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-Werror>)
endif()
if(TANDEM_SANITIZE)
  add_compile_options(-fsanitize=${TANDEM_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${TANDEM_SANITIZE})
endif()

if(TANDEM_FUZZ)
  add_compile_options(-Wno-unknown-warning-option -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
endif()

# tandem_isa_source(FILE flags...): compiles one file for one instruction set. Such a file exports
# exactly one constant table; tools/check_isa_symbols fails on anything else it defines.
function(tandem_isa_source file)
  set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${ARGN}")
endfunction()
set(TANDEM_FLAGS_AVX2 -mavx2 -mfma -mf16c)
set(TANDEM_FLAGS_AVX512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mavx2 -mf16c
    -mprefer-vector-width=512)
set(TANDEM_FLAGS_AVX512_BF16 ${TANDEM_FLAGS_AVX512} -mavx512bf16)
