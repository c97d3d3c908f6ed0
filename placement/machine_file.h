// Machines that are described rather than found, and calibrations kept from run to run.
//
// A description is JSON, meant to be written by hand (placement/machines/*.json are examples, built
// into the program); CPU side either as `nodes` or as an hwloc synthetic string with memory and
// bandwidth per node.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "placement/machine.h"

namespace tandem {

// Names of the descriptions that are built in, e.g. "spr-2s-h100".
std::vector<std::string> ShippedMachines();

// A shipped name, a path of a JSON file, or an hwloc synthetic string ("numa:2 core:48 pu:2"; then
// memory and rates are guessed from a server's, and said so). Errors: NOT_FOUND naming the shipped
// ones, INVALID_ARGUMENT naming file, key, expected and found.
absl::StatusOr<Machine> LoadMachine(const std::string& name_or_path);
absl::StatusOr<Machine> ParseMachine(const std::string& json, const std::string& path);
// The inverse of ParseMachine().
std::string MachineToJson(const Machine& machine);

// Fills `rates` and the nodes' rates, where they are unknown, with guesses from cores, instruction
// sets and memory; source becomes kGuessed.
void GuessRates(Machine& machine);

// DetectMachine() with an id and the calibration kept for it; without one, with guesses. The GPU,
// if the caller found one, is filled in from `gpu`, its rates from the calibration or from what is
// known of such cards. Never fails.
Machine ThisMachine(const std::optional<GpuSpec>& gpu = {});
// Guessed rates of a card by its name, for what `spec` leaves 0.
void GuessGpuRates(GpuSpec& spec);

// Where calibrations are kept: $TANDEM_CACHE, else $XDG_CACHE_HOME/tandem, else ~/.cache/tandem.
std::string CalibrationPath(const Machine& machine);
// Keeps the rates of `machine` (curves of other shapes already kept stay). Errors name the path.
absl::Status SaveCalibration(const Machine& machine);

}  // namespace tandem
