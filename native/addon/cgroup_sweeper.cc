// The CgroupSweeper class of the addon: all cgroups' figures in one pass off the JavaScript thread.
#include "addon/cgroup_sweeper.h"

#include <cstring>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/cgroup_files.h"
#include "addon/errors.h"

namespace pvecri {
namespace {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

struct Row {
  double token;
  CgroupFigures figures;
};
static_assert(sizeof(Row) == 36 * sizeof(double), "SWEEP_FIELDS in src/native/binding.ts has 36");

// What one sweep reads: those asked for of the watched cgroups at its start. At most one sweep of a
// sweeper runs at a time, and nothing else touches the files.
struct Sweep {
  std::vector<std::pair<int64_t, std::shared_ptr<CgroupFiles>>> cgroups;
  std::vector<Row> rows;

  void Run() {
    rows.reserve(cgroups.size());
    for (auto& [token, files] : cgroups) {
      Row row;
      row.token = static_cast<double>(token);
      if (files->Read(&row.figures)) rows.push_back(row);
    }
  }
};

class CgroupSweeper : public Napi::ObjectWrap<CgroupSweeper> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "CgroupSweeper",
                       {InstanceMethod<&CgroupSweeper::Add>("add"),
                        InstanceMethod<&CgroupSweeper::Remove>("remove"),
                        InstanceMethod<&CgroupSweeper::SweepCall>("sweep"),
                        InstanceMethod<&CgroupSweeper::Close>("close")});
  }

  explicit CgroupSweeper(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CgroupSweeper>(info) {}

 private:
  void Add(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    int64_t token = ToInteger(info[0], "token", 0, kMaxSafeInteger);
    std::string path = ToPath(info[1], "path");
    bool count_processes = ToBoolean(info[2], "countProcesses");
    RequireOpen(env);
    if (cgroups_.contains(token)) throw Napi::TypeError::New(env, "token is in use");
    auto files = std::make_shared<CgroupFiles>();
    if (int error = files->Open(path, count_processes)) throw SystemError(env, error, "open", path);
    cgroups_.emplace(token, std::move(files));
  }

  void Remove(const Napi::CallbackInfo& info) {
    cgroups_.erase(ToInteger(info[0], "token", 0, kMaxSafeInteger));
  }

  Napi::Value SweepCall(const Napi::CallbackInfo& info) {
    std::vector<int64_t> tokens = ToTokens(info[0]);
    RequireOpen(info.Env());
    wanted_.insert(tokens.begin(), tokens.end());
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    waiting_.push_back(deferred);
    if (!running_) Start(info.Env());
    return deferred.Promise();
  }

  void Close(const Napi::CallbackInfo&) {
    closed_ = true;
    cgroups_.clear();
  }

  static std::vector<int64_t> ToTokens(const Napi::Value& value) {
    if (!value.IsTypedArray() ||
        value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
      throw Napi::TypeError::New(value.Env(), "tokens must be a Float64Array");
    }
    Napi::Float64Array numbers = value.As<Napi::Float64Array>();
    std::vector<int64_t> tokens;
    for (size_t i = 0; i < numbers.ElementLength(); ++i) {
      double number = numbers[i];
      if (!(number >= 0 && number <= static_cast<double>(kMaxSafeInteger))) {
        throw Napi::TypeError::New(value.Env(), "tokens[] must be a token");
      }
      tokens.push_back(static_cast<int64_t>(number));
    }
    return tokens;
  }

  void RequireOpen(Napi::Env env) const {
    if (closed_) throw Napi::TypeError::New(env, "the cgroup sweeper is closed");
  }

  // Answers everybody who waits now, with what any of them wants. Who asks while it runs gets the
  // next sweep: what they watched in between must be in it.
  void Start(Napi::Env env) {
    auto sweep = std::make_shared<Sweep>();
    for (int64_t token : wanted_) {
      auto found = cgroups_.find(token);
      if (found != cgroups_.end()) sweep->cgroups.emplace_back(*found);
    }
    wanted_.clear();
    auto waiting = std::make_shared<std::vector<Napi::Promise::Deferred>>(std::move(waiting_));
    waiting_.clear();
    running_ = true;
    Ref();  // done below uses this
    int error = RunInBackground(
        env, "pvecri cgroup sweep", [sweep] { sweep->Run(); },
        [this, sweep, waiting](Napi::Env env) {
          for (const auto& deferred : *waiting) deferred.Resolve(RowsOf(env, sweep->rows));
          Finish(env);
        });
    if (error != 0) {
      Napi::Error failure = SystemError(env, error, "pthread_create");
      for (const auto& deferred : *waiting) deferred.Reject(failure.Value());
      running_ = false;
      Unref();
    }
  }

  void Finish(Napi::Env env) {
    running_ = false;
    if (!waiting_.empty()) Start(env);
    Unref();
  }

  static Napi::Value RowsOf(Napi::Env env, const std::vector<Row>& rows) {
    Napi::Float64Array array =
        Napi::Float64Array::New(env, rows.size() * sizeof(Row) / sizeof(double));
    if (!rows.empty()) memcpy(array.Data(), rows.data(), rows.size() * sizeof(Row));
    return array;
  }

  std::unordered_map<int64_t, std::shared_ptr<CgroupFiles>> cgroups_;
  std::vector<Napi::Promise::Deferred> waiting_;
  std::unordered_set<int64_t> wanted_;  // by those who wait
  bool running_ = false;
  bool closed_ = false;
};

}  // namespace

void ExportCgroupSweeper(Napi::Env env, Napi::Object exports) {
  exports.Set("CgroupSweeper", CgroupSweeper::Define(env));
}

}  // namespace pvecri
