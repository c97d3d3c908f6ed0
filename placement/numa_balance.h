// What it costs that NUMA nodes finish at different times: factors on the time that the same bytes
// would take if every node had its share. Pure functions.
//
//   sharded     the largest shard: columns come in units of 32
//   whole       E[max of D balls in N bins] N / D: D different experts of a step fall on N nodes
//   replicated  a row's experts go to the nodes in turn: each node reads the different ones of its
//               part, so rows that share an expert may read it on two nodes
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model_shape.h"
#include "placement/machine.h"
#include "placement/plan.h"

namespace tandem {

// Mean of the fullest of `bins` when `balls` fall at random, over balls / bins. Exact up to 64
// balls, by the normal limit beyond. REQUIRES: balls >= 1, bins >= 1.
double FullestBin(double balls, int bins);

// `shares`: of the bandwidth or of the cores of each node; they sum up to 1. `step_rows`: of the
// step.
double NumaFactor(const ModelShape& shape, NumaHome home, std::span<const double> shares,
                  int32_t step_rows);

// Of an expert's bytes, for each of n nodes. REQUIRES: Shardable(shape, n).
std::vector<double> ShardShares(const ModelShape& shape, int n);
bool Shardable(const ModelShape& shape, int n);

// Nodes that compute: indices of machine.nodes with cores and memory. May be empty for a machine
// written by hand: then it is taken for one node.
std::vector<int32_t> ComputeNodes(const Machine& machine);

}  // namespace tandem
