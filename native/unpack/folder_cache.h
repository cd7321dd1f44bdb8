// Descriptors of the folders an archive is being written to, found below the root and nowhere else.
#pragma once

#include <sys/stat.h>
#include <time.h>

#include <cstdint>
#include <list>
#include <string>
#include <string_view>

#include "common/unique_fd.h"
#include "unpack/failure.h"

namespace pvecri {

struct Folder {
  std::string path;
  UniqueFd fd;
  // Written when the folder leaves the cache: each new entry below it sets it to now.
  timespec mtime;
  // New entries get the folder's group instead of the writer's.
  bool set_gid;
};

class FolderCache {
 public:
  explicit FolderCache(int root_fd) : root_fd_(root_fd) {}
  ~FolderCache() { ForgetAll(); }
  FolderCache(const FolderCache&) = delete;
  FolderCache& operator=(const FolderCache&) = delete;

  // The folder of that path, made with its parents (0755, root's) where it is missing. Valid until
  // the next call. Symbolic links in the path are followed inside the root.
  Result Get(const std::string& path, Folder** folder);

  // Opens a path below the root with `flags`, following links inside the root alone.
  UniqueFd Open(const std::string& path, int flags) const;

  // To be called when a folder or a symbolic link below `kept` is taken away: any path may have led
  // through it.
  void ForgetAllBut(const Folder& kept);
  void ForgetAll();

  // Folders that Get has made.
  uint64_t made() const { return made_; }

 private:
  static constexpr size_t kMost = 64;

  Result Make(const std::string& path);
  static void WriteTime(const Folder& folder);

  int root_fd_;
  std::list<Folder> folders_;  // the latest used first
  uint64_t made_ = 0;
};

// Makes a folder in the place of a whiteout: what lower layers have there stays hidden.
Result MakeOpaqueFolder(int parent_fd, const char* name);
Result SetOpaque(int folder_fd);
bool IsWhiteout(const struct stat& status);

}  // namespace pvecri
