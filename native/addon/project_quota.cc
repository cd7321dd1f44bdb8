// Project quotas of ext4 and XFS, by the calls that both have in common.
#include "addon/project_quota.h"

#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

Failure OpenFolder(const std::string& folder, UniqueFd* fd) {
  fd->reset(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!*fd) return {errno, "open", folder, {}};
  return {};
}

// quotactl(2) wants the block device, which is not to be seen in every mount namespace.
int Quotactl(int fd, unsigned command, uint32_t id, void* argument) {
  return static_cast<int>(
      syscall(SYS_quotactl_fd, fd, QCMD(command, PRJQUOTA), static_cast<int>(id), argument));
}

ProjectUsage UsageOf(uint32_t id, const if_dqblk& block) {
  return {id, block.dqb_curspace, block.dqb_curinodes, block.dqb_bhardlimit * QIF_DQBLKSIZE};
}

}  // namespace

Failure GetQuotaState(const std::string& folder, QuotaState* state) {
  UniqueFd fd;
  if (Failure failure = OpenFolder(folder, &fd)) return failure;
  fs_quota_statv status = {};
  status.qs_version = FS_QSTATV_VERSION1;
  // ENOSYS: no quotas in this file system, or in this kernel (quotactl_fd came with Linux 5.14).
  if (Quotactl(fd.get(), Q_XGETQSTATV, 0, &status) < 0) return {};
  state->accounted = (status.qs_flags & FS_QUOTA_PDQ_ACCT) != 0;
  state->enforced = (status.qs_flags & FS_QUOTA_PDQ_ENFD) != 0;
  return {};
}

Failure GetProject(const std::string& folder, uint32_t* id) {
  UniqueFd fd;
  if (Failure failure = OpenFolder(folder, &fd)) return failure;
  fsxattr attributes = {};
  *id = 0;
  if (ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) == 0) {
    *id = attributes.fsx_projid;
  } else if (errno != ENOTTY && errno != EOPNOTSUPP) {
    return {errno, "ioctl", folder, "FS_IOC_FSGETXATTR"};
  }
  return {};
}

Failure SetProject(const std::string& folder, uint32_t id) {
  UniqueFd fd;
  if (Failure failure = OpenFolder(folder, &fd)) return failure;
  fsxattr attributes = {};
  if (ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) < 0) {
    return {errno, "ioctl", folder, "FS_IOC_FSGETXATTR"};
  }
  attributes.fsx_projid = id;
  attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
  if (ioctl(fd.get(), FS_IOC_FSSETXATTR, &attributes) < 0) {
    return {errno, "ioctl", folder, "FS_IOC_FSSETXATTR"};
  }
  return {};
}

Failure SetProjectLimit(const std::string& folder, uint32_t id, uint64_t bytes) {
  UniqueFd fd;
  if (Failure failure = OpenFolder(folder, &fd)) return failure;
  if_dqblk block = {};
  block.dqb_bhardlimit = (bytes + QIF_DQBLKSIZE - 1) / QIF_DQBLKSIZE;
  block.dqb_valid = QIF_BLIMITS;
  if (Quotactl(fd.get(), Q_SETQUOTA, id, &block) < 0) {
    return {errno, "quotactl_fd", folder, "Q_SETQUOTA"};
  }
  return {};
}

Failure GetProjectUsage(const std::string& folder, const std::vector<uint32_t>& ids,
                        std::vector<ProjectUsage>* usages) {
  UniqueFd fd;
  if (Failure failure = OpenFolder(folder, &fd)) return failure;
  usages->clear();
  for (uint32_t id : ids) {
    if_dqblk block = {};
    // ENOENT: XFS has not heard of the project.
    if (Quotactl(fd.get(), Q_GETQUOTA, id, &block) < 0 && errno != ENOENT) {
      return {errno, "quotactl_fd", folder, "Q_GETQUOTA"};
    }
    usages->push_back(UsageOf(id, block));
  }
  return {};
}

Failure ListProjects(const std::string& folder, uint32_t first, uint32_t last,
                     std::vector<ProjectUsage>* usages) {
  UniqueFd fd;
  if (Failure failure = OpenFolder(folder, &fd)) return failure;
  usages->clear();
  for (uint64_t next = first; next <= last;) {
    if_nextdqblk block = {};
    if (Quotactl(fd.get(), Q_GETNEXTQUOTA, static_cast<uint32_t>(next), &block) < 0) {
      if (errno == ENOENT || errno == ESRCH) return {};  // none that follow
      return {errno, "quotactl_fd", folder, "Q_GETNEXTQUOTA"};
    }
    if (block.dqb_id < next || block.dqb_id > last) return {};
    next = uint64_t{block.dqb_id} + 1;
    if (block.dqb_curinodes == 0 && block.dqb_curspace == 0 && block.dqb_bhardlimit == 0) continue;
    usages->push_back({block.dqb_id, block.dqb_curspace, block.dqb_curinodes,
                       block.dqb_bhardlimit * QIF_DQBLKSIZE});
  }
  return {};
}

}  // namespace pvecri
