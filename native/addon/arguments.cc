// Checked conversion of JavaScript arguments.
#include "addon/arguments.h"

#include <climits>
#include <cmath>

namespace pvecri {
namespace {

[[noreturn]] void Reject(const Napi::Value& value, const std::string& name, const char* expected) {
  throw Napi::TypeError::New(value.Env(), name + " must be " + expected);
}

}  // namespace

int64_t ToInteger(const Napi::Value& value, const char* name, int64_t min, int64_t max) {
  if (!value.IsNumber()) Reject(value, name, "an integer");
  double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) ||
      std::trunc(number) != number) {
    Reject(value, name,
           ("an integer from " + std::to_string(min) + " to " + std::to_string(max)).c_str());
  }
  return static_cast<int64_t>(number);
}

int ToFd(const Napi::Value& value, const char* name) {
  return static_cast<int>(ToInteger(value, name, 0, INT_MAX));
}

std::string ToText(const Napi::Value& value, const char* name) {
  if (!value.IsString()) Reject(value, name, "a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) Reject(value, name, "a string without NUL");
  return text;
}

std::string ToPath(const Napi::Value& value, const char* name) {
  std::string path = ToText(value, name);
  if (path.empty() || path[0] != '/') Reject(value, name, "an absolute path");
  return path;
}

std::vector<std::string> ToTexts(const Napi::Value& value, const char* name) {
  if (!value.IsArray()) Reject(value, name, "an array of strings");
  Napi::Array array = value.As<Napi::Array>();
  std::vector<std::string> texts;
  uint32_t length = array.Length();
  for (uint32_t i = 0; i < length; ++i) {
    texts.push_back(ToText(array.Get(i), (std::string(name) + "[]").c_str()));
  }
  return texts;
}

std::span<const uint8_t> ToBytes(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    Reject(value, name, "a Uint8Array");
  }
  Napi::Uint8Array bytes = value.As<Napi::Uint8Array>();
  return {bytes.Data(), bytes.ByteLength()};
}

Napi::Function ToFunction(const Napi::Value& value, const char* name) {
  if (!value.IsFunction()) Reject(value, name, "a function");
  return value.As<Napi::Function>();
}

Napi::Object ToObject(const Napi::Value& value, const char* name) {
  if (!value.IsObject() || value.IsFunction()) Reject(value, name, "an object");
  return value.As<Napi::Object>();
}

bool ToBoolean(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) Reject(value, name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

bool Has(const Napi::Object& object, const char* name) { return !object.Get(name).IsUndefined(); }

}  // namespace pvecri
