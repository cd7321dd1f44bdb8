// Counters of the network interfaces in a namespace, by rtnetlink(7).
#include "addon/interfaces.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

// The kernel fills no more than this into a message of a dump (NLMSG_GOODSIZE and up).
constexpr size_t kBufferSize = 32 * 1024;

void AddInterface(const nlmsghdr* message, std::vector<InterfaceCounters>* interfaces) {
  const auto* info = static_cast<const ifinfomsg*>(NLMSG_DATA(message));
  if (info->ifi_flags & IFF_LOOPBACK) return;
  InterfaceCounters counters = {};
  bool counted = false;
  int left = static_cast<int>(IFLA_PAYLOAD(message));
  for (const rtattr* attribute = IFLA_RTA(info); RTA_OK(attribute, left);
       attribute = RTA_NEXT(attribute, left)) {
    const void* data = RTA_DATA(attribute);
    size_t size = RTA_PAYLOAD(attribute);
    if (attribute->rta_type == IFLA_IFNAME) {
      counters.name.assign(static_cast<const char*>(data),
                           strnlen(static_cast<const char*>(data), size));
    } else if (attribute->rta_type == IFLA_STATS64 && size > 0) {
      // Attributes are aligned to four bytes alone, and newer kernels have more members.
      rtnl_link_stats64 stats = {};
      memcpy(&stats, data, size < sizeof(stats) ? size : sizeof(stats));
      counters.rx_bytes = static_cast<double>(stats.rx_bytes);
      counters.rx_errors = static_cast<double>(stats.rx_errors);
      counters.tx_bytes = static_cast<double>(stats.tx_bytes);
      counters.tx_errors = static_cast<double>(stats.tx_errors);
      counted = true;
    }
  }
  if (counted && !counters.name.empty()) interfaces->push_back(std::move(counters));
}

}  // namespace

Failure ReadInterfaces(const std::string& path, std::vector<InterfaceCounters>* interfaces) {
  UniqueFd space(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!space) return {errno, "open", path, {}};
  if (setns(space.get(), CLONE_NEWNET) < 0) return {errno, "setns", path, {}};
  // A socket kept from call to call would keep the namespace of a stopped pod; making one takes
  // some microseconds.
  UniqueFd link(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!link) return {errno, "socket", path, {}};
  struct {
    nlmsghdr header;
    ifinfomsg info;
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.info.ifi_family = AF_UNSPEC;
  if (send(link.get(), &request, sizeof(request), 0) < 0) return {errno, "send", path, {}};
  alignas(nlmsghdr) char buffer[kBufferSize];
  for (;;) {
    ssize_t size = recv(link.get(), buffer, sizeof(buffer), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return {errno, "recv", path, {}};
    int left = static_cast<int>(size);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type == NLMSG_DONE) return {};
      if (message->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(message));
        return {error->error == 0 ? EPROTO : -error->error, "RTM_GETLINK", path, {}};
      }
      if (message->nlmsg_type == RTM_NEWLINK) AddInterface(message, interfaces);
    }
  }
}

}  // namespace pvecri
