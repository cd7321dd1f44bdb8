// What in the target folder belongs to the layer that is being unpacked.
#pragma once

#include <stdint.h>

#include <unordered_map>

namespace pvecri {

// Inode numbers of one filesystem, most of which follow each other.
class InodeSet {
 public:
  // False when it was there already.
  bool Add(uint64_t inode) {
    uint64_t& word = words_[inode / 64];
    const uint64_t bit = uint64_t{1} << inode % 64;
    const bool is_new = (word & bit) == 0;
    word |= bit;
    return is_new;
  }
  bool Has(uint64_t inode) const {
    const auto word = words_.find(inode / 64);
    return word != words_.end() && (word->second >> inode % 64 & 1) != 0;
  }

 private:
  std::unordered_map<uint64_t, uint64_t> words_;
};

// In a folder of its own everything is the layer's. On top of its parent, what it has made and the
// folders it has named are. A number is never taken out again: only this layer makes anything here,
// so whoever gets the number next is the layer's as well.
class OwnInodes {
 public:
  explicit OwnInodes(bool has_lower) : has_lower_(has_lower) {}

  // Whether lower layers lie in the same folder.
  bool has_lower() const { return has_lower_; }
  void Add(uint64_t inode) {
    if (has_lower_) (void)inodes_.Add(inode);
  }
  bool Has(uint64_t inode) const { return !has_lower_ || inodes_.Has(inode); }

 private:
  const bool has_lower_;
  InodeSet inodes_;
};

}  // namespace pvecri
