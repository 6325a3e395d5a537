// The kernel as a filter, to run it under an emulator: sizes as arguments, tensors on stdin in the
// operator's order, y and next on stdout.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "ssm_scan.h"

int main(int, char** argv) {
  const auto size = [argv](int i) { return std::atoll(argv[i]); };
  const todm::ScanSizes s = {size(1), size(2), size(3), size(4), size(5)};
  const auto read = [](int64_t count) {
    std::vector<float> data(count);
    if (std::fread(data.data(), sizeof(float), count, stdin) != data.size()) std::exit(1);
    return data;
  };
  const auto u = read(s.streams * s.frames * s.heads * s.channels);
  const auto state = read(s.streams * s.heads * 2 * s.modes * s.channels);
  const auto pole_re = read(s.heads * s.modes), pole_im = read(s.heads * s.modes);
  const auto read_re = read(s.heads * s.modes), read_im = read(s.heads * s.modes);
  const auto skip = read(s.heads);
  std::vector<float> y(u.size()), next(state.size());
  todm::ssm_scan(s, {pole_re.data(), pole_im.data(), read_re.data(), read_im.data(), skip.data()},
                 u.data(), state.data(), y.data(), next.data());
  std::fwrite(y.data(), sizeof(float), y.size(), stdout);
  std::fwrite(next.data(), sizeof(float), next.size(), stdout);
}
