// SHA-256 by OpenSSL, which uses the CPU's instructions for it where there are any.
#include "unpack/sha256.h"

namespace pvecri {

Sha256::Sha256()
    : context_(EVP_MD_CTX_new()),
      ok_(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1) {}

void Sha256::Update(const void* data, size_t size) {
  ok_ = ok_ && EVP_DigestUpdate(context_.get(), data, size) == 1;
}

std::string Sha256::Hex() {
  static constexpr char kHex[] = "0123456789abcdef";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (!ok_ || EVP_DigestFinal_ex(context_.get(), digest, &size) != 1) return "";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += kHex[digest[i] >> 4];
    hex += kHex[digest[i] & 15];
  }
  return hex;
}

}  // namespace pvecri
