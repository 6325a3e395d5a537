// A mono 16-bit PCM WAV file as samples in [-1, 1).
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace todm {

inline std::vector<float> read_wav(const std::string& path, int rate_hz) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  const auto number = [&bytes](size_t at, int size) {
    uint32_t value = 0;
    for (int i = 0; i < size; ++i) value |= uint32_t(uint8_t(bytes.at(at + i))) << (8 * i);
    return value;
  };
  if (bytes.size() < 12 || std::memcmp(bytes.data(), "RIFF", 4) != 0)
    throw std::runtime_error(path + ": no WAV file");
  for (size_t at = 12; at + 8 <= bytes.size(); at += 8 + number(at + 4, 4) + number(at + 4, 4) % 2) {
    if (std::memcmp(&bytes[at], "fmt ", 4) == 0 &&
        (number(at + 8, 2) != 1 || number(at + 10, 2) != 1 || number(at + 22, 2) != 16 ||
         number(at + 12, 4) != uint32_t(rate_hz)))
      throw std::runtime_error(path + ": mono 16-bit PCM at " + std::to_string(rate_hz) +
                               " Hz is needed");
    if (std::memcmp(&bytes[at], "data", 4) != 0) continue;
    const size_t count = std::min<size_t>(number(at + 4, 4), bytes.size() - at - 8) / 2;
    std::vector<float> samples(count);
    for (size_t i = 0; i < count; ++i)
      samples[i] = static_cast<float>(int16_t(number(at + 8 + 2 * i, 2))) / 32768.0f;
    return samples;
  }
  throw std::runtime_error(path + ": no samples in it");
}

}  // namespace todm
