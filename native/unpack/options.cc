// Reads the command line of the unpack helper.
#include "unpack/options.h"

#include <getopt.h>

#include <charconv>
#include <string_view>

namespace pvecri {
namespace {

bool ParseNumber(std::string_view text, uint64_t* value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

bool ParseDigest(std::string_view text, std::string* hex) {
  static constexpr std::string_view kPrefix = "sha256:";
  if (!text.starts_with(kPrefix)) return false;
  text.remove_prefix(kPrefix.size());
  if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != text.npos) return false;
  *hex = text;
  return true;
}

}  // namespace

Result ParseOptions(int argc, char** argv, Options* options) {
  static constexpr option kOptions[] = {
      {"diff-id", required_argument, nullptr, 'd'},
      {"digest", required_argument, nullptr, 'b'},
      {"offset", required_argument, nullptr, 'o'},
      {"length", required_argument, nullptr, 'l'},
      {"follow", required_argument, nullptr, 'f'},
      {"allow-xz", no_argument, nullptr, 'x'},
      {"apply", no_argument, nullptr, 'a'},
      {"as-file", no_argument, nullptr, 'c'},
      {"hash-only", no_argument, nullptr, 'h'},
      {"max-bytes", required_argument, nullptr, 'B'},
      {"max-entries", required_argument, nullptr, 'E'},
      {"max-ratio", required_argument, nullptr, 'R'},
      {"ratio-floor", required_argument, nullptr, 'F'},
      {nullptr, 0, nullptr, 0},
  };
  ::opterr = 0;
  for (int letter; (letter = ::getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    bool good = false;
    switch (letter) {
      case 'd':
        good = ParseDigest(optarg, &options->diff_id);
        break;
      case 'b':
        good = ParseDigest(optarg, &options->digest);
        break;
      case 'o':
        good = ParseNumber(optarg, &options->offset);
        break;
      case 'l':
        good = ParseNumber(optarg, &options->length);
        break;
      case 'f':
        good = ParseNumber(optarg, &options->follow) && options->follow > 0;
        break;
      case 'x':
        options->allow_xz = good = true;
        break;
      case 'a':
        options->apply = good = true;
        break;
      case 'c':
        options->as_file = good = true;
        break;
      case 'h':
        options->hash_only = good = true;
        break;
      case 'B':
        good = ParseNumber(optarg, &options->limits.max_bytes);
        break;
      case 'E':
        good = ParseNumber(optarg, &options->limits.max_entries);
        break;
      case 'R':
        good = ParseNumber(optarg, &options->limits.max_ratio);
        break;
      case 'F':
        good = ParseNumber(optarg, &options->limits.ratio_floor);
        break;
    }
    if (!good) {
      return Failure{Cause::kUsage, 0, "malformed argument " + Quote(argv[::optind - 1])};
    }
  }
  if (::optind != argc) {
    return Failure{Cause::kUsage, 0, "unexpected argument " + Quote(argv[::optind])};
  }
  return {};
}

}  // namespace pvecri
