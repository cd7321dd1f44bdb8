// Clones of folders whose files have, seen through them, the owners a user namespace gives them.
#pragma once

#include <sys/types.h>

#include <string>

#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

// A detached mount of the folder: what id 0 owns on the disk is there the namespace's root's.
Failure CloneIdmapped(const std::string& folder, int user_namespace, UniqueFd* mount);

// Who owns the folder when it is looked at through such a clone. EOVERFLOW when the namespace does
// not have the owner or the group.
Failure GetMappedOwner(const std::string& folder, int user_namespace, uid_t* uid, gid_t* gid);

}  // namespace pvecri
