# tandem_embed(TARGET FUNCTION FILES...): the files become part of TARGET as
#   std::span<const EmbeddedFile> tandem::FUNCTION();   (core/embedded_file.h)
# which the header of whoever wants them declares. Files in the order given; a changed file is embedded anew.
#
# The same file, run as a script (cmake -P), writes that function: OUT, FUNCTION, FILES separated by |.
if(CMAKE_SCRIPT_MODE_FILE)
  set(arrays "")
  set(table "")
  set(index 0)
  string(REPLACE "|" ";" files "${FILES}")
  foreach(file ${files})
    get_filename_component(name ${file} NAME)
    file(READ ${file} bytes HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
    file(SIZE ${file} size)
    string(APPEND arrays "constexpr char kFile${index}[] = {\n${bytes}0};\n")
    string(APPEND table
           "    {\"${name}\", {kFile${index}, ${size}}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  file(WRITE ${OUT}
"#include <span>

#include \"core/embedded_file.h\"

namespace tandem {
namespace {
${arrays}constexpr EmbeddedFile kFiles[] = {
${table}};
}  // namespace
std::span<const EmbeddedFile> ${FUNCTION}();
std::span<const EmbeddedFile> ${FUNCTION}() { return kFiles; }
}  // namespace tandem
")
  return()
endif()

set(TANDEM_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(tandem_embed target function)
  set(paths "")
  foreach(file ${ARGN})
    get_filename_component(path ${file} ABSOLUTE)
    list(APPEND paths ${path})
  endforeach()
  list(JOIN paths "|" joined)
  set(out ${CMAKE_BINARY_DIR}/generated/embedded/${function}.cpp)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DFUNCTION=${function} "-DFILES=${joined}"
            -P ${TANDEM_EMBED_SCRIPT}
    DEPENDS ${paths} ${TANDEM_EMBED_SCRIPT}
    COMMENT "embed ${function}" VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
