// Resolution below the container's root with openat2, and creation of missing mount targets.
#include "init/root_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/syscalls.h"

namespace pvecri {
namespace {

constexpr int kMaxSymlinks = 40;  // as many as the kernel follows (path_resolution(7))

// Length of the path up to and including the component that starts at or after `from`.
size_t NextComponent(const char* path, size_t from) {
  while (path[from] == '/') ++from;
  while (path[from] != 0 && path[from] != '/') ++from;
  return from;
}

// Puts what the dangling symlink `path[parent..end]` points at in its place. False with errno set.
bool ReplaceSymlink(int folder, char* path, size_t parent, size_t end) {
  char target[PATH_MAX], name[NAME_MAX + 1], joined[PATH_MAX];
  size_t start = parent;
  while (path[start] == '/') ++start;
  if (end - start >= sizeof(name)) {
    errno = ENAMETOOLONG;
    return false;
  }
  memcpy(name, path + start, end - start);
  name[end - start] = 0;
  ssize_t length = ::readlinkat(folder, name, target, sizeof(target) - 1);
  if (length < 0) return false;
  target[length] = 0;
  int kept = target[0] == '/' ? 0 : static_cast<int>(parent);
  int needed = snprintf(joined, sizeof(joined), "%.*s/%s%s", kept, path, target, path + end);
  if (needed >= static_cast<int>(sizeof(joined))) {
    errno = ENAMETOOLONG;
    return false;
  }
  memcpy(path, joined, needed + 1);
  return true;
}

UniqueFd ResolvePrefix(int root, const char* path, size_t length) {
  char prefix[PATH_MAX];
  snprintf(prefix, sizeof(prefix), "%.*s", static_cast<int>(length), path);
  return ResolveInRoot(root, length == 0 ? "." : prefix);
}

bool IsDotDot(const char* name, size_t length) { return length == 2 && memcmp(name, "..", 2) == 0; }

}  // namespace

UniqueFd OpenRoot() { return UniqueFd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)); }

UniqueFd ResolveInRoot(int root, const char* path) {
  return UniqueFd(OpenAt2(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS));
}

UniqueFd ResolveOrMake(int root, const char* wanted, bool folder) {
  UniqueFd found = ResolveInRoot(root, wanted);
  if (found || errno != ENOENT) return found;
  char path[PATH_MAX];
  if (snprintf(path, sizeof(path), "%s", wanted) >= static_cast<int>(sizeof(path))) {
    errno = ENAMETOOLONG;
    return UniqueFd();
  }
  int symlinks = 0;
  for (size_t parent = 0;;) {
    size_t end = NextComponent(path, parent);
    if (end == parent || path[parent + strspn(path + parent, "/")] == 0) break;
    found = ResolvePrefix(root, path, end);
    if (found) {
      parent = end;
      continue;
    }
    if (errno != ENOENT) return UniqueFd();
    UniqueFd at = ResolvePrefix(root, path, parent);
    if (!at) return UniqueFd();
    size_t start = parent + strspn(path + parent, "/");
    if (IsDotDot(path + start, end - start)) {
      errno = ENOENT;
      return UniqueFd();
    }
    char name[NAME_MAX + 1];
    if (end - start > NAME_MAX) {
      errno = ENAMETOOLONG;
      return UniqueFd();
    }
    memcpy(name, path + start, end - start);
    name[end - start] = 0;
    bool last = path[end + strspn(path + end, "/")] == 0;
    int made;
    if (last && !folder) {
      made = ::openat(at.get(), name, O_CREAT | O_EXCL | O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (made >= 0) ::close(made);
    } else {
      made = ::mkdirat(at.get(), name, 0755);
    }
    if (made < 0 && errno != EEXIST) return UniqueFd();
    if (made < 0) {
      // It is there and yet does not resolve: a symlink to something missing, or a racing sibling.
      if (++symlinks > kMaxSymlinks) {
        errno = ELOOP;
        return UniqueFd();
      }
      struct stat status;
      if (::fstatat(at.get(), name, &status, AT_SYMLINK_NOFOLLOW) != 0) return UniqueFd();
      if (!S_ISLNK(status.st_mode)) continue;
      if (!ReplaceSymlink(at.get(), path, parent, end)) return UniqueFd();
      parent = 0;
    }
  }
  return ResolveInRoot(root, path);
}

}  // namespace pvecri
