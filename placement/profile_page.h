// The report as one self-contained HTML page: no network, no script from elsewhere, data inlined.
// Its look and charts are in placement/profile_page/.
#pragma once

#include <string>
#include <string_view>

#include "placement/profile_report.h"

namespace tandem {

// `title` is shown as text, e.g. the profile's path. All options of the report but the labels and
// phases, which the page lets its reader choose, are this function's.
std::string ProfilePage(const ExpertProfile& profile, const std::string& title);

// JSON text that may stand in a <script> element whatever its strings say: <, > and & are written
// as \u003c and so on (they occur in strings only).
std::string ForScriptElement(std::string_view json);

}  // namespace tandem
