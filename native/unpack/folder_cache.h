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
#include "unpack/own_inodes.h"

namespace pvecri {

struct Folder {
  std::string path;
  UniqueFd fd;
  uint64_t inode;
  // Written when the folder leaves the cache: each new entry below it sets it to now.
  timespec mtime;
  // New entries get the folder's group instead of the writer's.
  bool set_gid;
};

class FolderCache {
 public:
  FolderCache(int root_fd, OwnInodes* own) : root_fd_(root_fd), own_(own) {}
  ~FolderCache() { ForgetAll(); }
  FolderCache(const FolderCache&) = delete;
  FolderCache& operator=(const FolderCache&) = delete;

  // The folder of that path, made with its parents (0755, root's) where the layer and those below
  // have none, and the layer's own from now on. Valid until the next call. The layer's symbolic
  // links are followed inside the root; what lower layers have that is no folder is replaced.
  Result Get(const std::string& path, Folder** folder);

  // Opens a path below the root with `flags`, following links inside the root alone.
  UniqueFd Open(const std::string& path, int flags, uint64_t resolve = 0) const;

  // To be called when a folder or a symbolic link below `kept` is taken away: any path may have led
  // through it.
  void ForgetAllBut(const Folder& kept);
  void ForgetAll();

  // Folders that Get has made.
  uint64_t made() const { return made_; }

  // Takes away what is there and is no folder, and makes one.
  Result Replace(const Folder& parent, const char* name);

 private:
  static constexpr size_t kMost = 64;

  Folder* FindCached(std::string_view path);
  // Opens, finds or makes the folder in its parent.
  Result Enter(const std::string& path, UniqueFd* fd);
  Result Follow(const std::string& path, const struct stat& status, UniqueFd* fd);
  static void WriteTime(const Folder& folder);

  int root_fd_;
  OwnInodes* own_;
  std::list<Folder> folders_;  // the latest used first
  uint64_t made_ = 0;
};

}  // namespace pvecri
