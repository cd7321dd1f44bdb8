// Incremental SHA-256.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>

namespace pvecri {

class Sha256 {
 public:
  Sha256();
  // False when the crypto library has no SHA-256 or no memory.
  bool ok() const { return ok_; }
  void Update(const void* data, size_t size);
  // 64 hex digits; call once. "" after an error.
  std::string Hex();

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
  bool ok_;
};

}  // namespace pvecri
