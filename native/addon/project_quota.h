// Project quotas of ext4 and XFS: what a folder and all below it take up, and how much they may.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "addon/failure.h"

namespace pvecri {

struct QuotaState {
  bool accounted = false;  // the file system counts what projects take up
  bool enforced = false;   // and holds them to their limits
};

struct ProjectUsage {
  uint32_t id = 0;
  uint64_t bytes = 0;
  uint64_t inodes = 0;
  uint64_t limit = 0;  // bytes, 0 for none
};

// `folder` stands for the file system that it is on. No error where that knows no quotas.
Failure GetQuotaState(const std::string& folder, QuotaState* state);

// The project of a folder; 0 for none, and where the file system has no projects.
Failure GetProject(const std::string& folder, uint32_t* id);
// What is made in the folder from now on belongs to the project too.
Failure SetProject(const std::string& folder, uint32_t id);

Failure SetProjectLimit(const std::string& folder, uint32_t id, uint64_t bytes);
// Nothing of a project is all zeros.
Failure GetProjectUsage(const std::string& folder, const std::vector<uint32_t>& ids,
                        std::vector<ProjectUsage>* usages);
// All projects of a range that have a limit or own something.
Failure ListProjects(const std::string& folder, uint32_t first, uint32_t last,
                     std::vector<ProjectUsage>* usages);

}  // namespace pvecri
