// pvecri-unpack: unpacks one image layer into one folder.
//
// Descriptors: 0 the blob (a file or a pipe), 1 how much of it is there (options.h), 3 the target
// folder, 4 the report (report.h). Exit code: 0 done, 1 failed and reported, 2 malformed arguments.
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unpack/confinement.h"
#include "unpack/options.h"
#include "unpack/pipeline.h"
#include "unpack/report.h"
#include "unpack/resource_limits.h"
#include "unpack/system_call_filter.h"

namespace pvecri {
namespace {

constexpr int kBlob = 0;
constexpr int kArrival = 1;
constexpr int kTarget = 3;
constexpr int kReport = 4;

struct Job {
  Options options;
  Report report{kReport};
};

int Work(Result failure, void* argument) {
  Job* job = static_cast<Job*>(argument);
  if (!failure) {
    UniqueFd root(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) failure = SystemFailure("cannot open the target folder");
    if (!failure) failure = LimitResources(job->options.limits);
    if (!failure) failure = FilterSystemCalls();
    if (!failure) failure = Unpack(kBlob, kArrival, std::move(root), job->options, job->report);
  }
  if (!failure) return 0;
  job->report.Error(*failure);
  return 1;
}

int Main(int argc, char** argv) {
  (void)::signal(SIGPIPE, SIG_IGN);
  (void)::umask(0);
  (void)::close_range(kReport + 1, ~0u, 0);
  // libarchive converts pax names from UTF-8 to the locale's charset; this one changes nothing.
  (void)::setlocale(LC_CTYPE, "C.UTF-8");
  // Its configuration would be looked for below the new root, which is the layer's.
  (void)::OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  Job job;
  if (Result failure = ParseOptions(argc, argv, &job.options)) {
    job.report.Error(*failure);
    return 2;
  }
  int code = 1;
  if (Result failure = RunConfined(kTarget, kReport, Work, &job, &code)) {
    job.report.Error(*failure);
    return 1;
  }
  return code;
}

}  // namespace
}  // namespace pvecri

int main(int argc, char** argv) {
  // Past exit handlers: AddressSanitizer's leak check cannot run with a PID namespace unshared.
  ::_exit(pvecri::Main(argc, argv));
}
