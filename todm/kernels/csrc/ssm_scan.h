// The head-shared diagonal state-space recurrence of todm.kernels.ssm, one chunk at a time.
//
//   s_t = lam s_{t-1} + u_t,   y_t = sum_n (read_re Re s_{t,n} + read_im Im s_{t,n}) + skip u_t
//
// Legend: B streams, L frames, H heads, P channels of a head, N complex modes, all row-major:
//   u, y (B, L, H, P); state, next (B, H, 2 N, P), real rows, then imaginary; the poles and
//   the weights of the read-out (H, N); skip (H).
//
// One source for AVX-512, AVX2, NEON and plain C++: the compiler's vector extensions, whose width
// follows from what it compiles for. Lanes are channels of a head, which share its poles; where a
// head has fewer channels than a vector has lanes they are modes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace todm {

// Lanes of the widest vector, and the outputs of a tile, which should stay in registers.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kFrames = 8;
#elif defined(__AVX__)
constexpr int kLanes = 8, kFrames = 4;
#elif defined(__ARM_NEON)
constexpr int kLanes = 4, kFrames = 8;
#elif defined(__SSE2__)
constexpr int kLanes = 4, kFrames = 4;
#else
constexpr int kLanes = 1, kFrames = 4;
#endif

#if !defined(__GNUC__)
#error "build with GCC or Clang: the kernel is written in their vector extensions"
#endif

template <int Width>
struct Vector {
  typedef float Lanes __attribute__((vector_size(Width * sizeof(float))));
};

struct ScanSizes {
  int64_t streams, frames, heads, modes, channels;
};

struct ScanConstants {
  const float* pole_re;
  const float* pole_im;
  const float* read_re;
  const float* read_im;
  const float* skip;
};

template <typename Lanes>
inline Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <typename Lanes>
inline void store(float* to, Lanes lanes) {
  std::memcpy(to, &lanes, sizeof lanes);
}

// A head's constants, and where its rows of channels lie.
struct Head {
  const float *pole_re, *pole_im, *read_re, *read_im;
  float skip;
  int64_t modes, channels, row;  // row: floats from one frame to the next
};

// One vector of channels over `Frames` frames: modes outside, two at a time (their chains of
// multiply-adds overlap), frames inside, outputs in registers.
template <int Width, int Frames>
inline void channel_tile(const Head& head, const float* u, const float* state, float* y,
                         float* next) {
  using Lanes = typename Vector<Width>::Lanes;
  const auto all = [](float value) { return Lanes{} + value; };
  const int64_t modes = head.modes, channels = head.channels;
  Lanes sum[Frames];
  for (int t = 0; t < Frames; ++t) sum[t] = load<Lanes>(u + t * head.row) * head.skip;
  int64_t n = 0;
  for (; n + 1 < modes; n += 2) {
    const Lanes pole_re = all(head.pole_re[n]), pole_im = all(head.pole_im[n]);
    const Lanes read_re = all(head.read_re[n]), read_im = all(head.read_im[n]);
    const Lanes pole_re2 = all(head.pole_re[n + 1]), pole_im2 = all(head.pole_im[n + 1]);
    const Lanes read_re2 = all(head.read_re[n + 1]), read_im2 = all(head.read_im[n + 1]);
    Lanes re = load<Lanes>(state + n * channels), im = load<Lanes>(state + (modes + n) * channels);
    Lanes re2 = load<Lanes>(state + (n + 1) * channels), im2 = load<Lanes>(state + (modes + n + 1) * channels);
#pragma GCC unroll 8
    for (int t = 0; t < Frames; ++t) {
      const Lanes in = load<Lanes>(u + t * head.row);
      const Lanes new_re = pole_re * re + (in - pole_im * im);
      const Lanes new_re2 = pole_re2 * re2 + (in - pole_im2 * im2);
      im = pole_re * im + pole_im * re;
      im2 = pole_re2 * im2 + pole_im2 * re2;
      re = new_re, re2 = new_re2;
      sum[t] += read_re * re;
      sum[t] += read_im * im;
      sum[t] += read_re2 * re2;
      sum[t] += read_im2 * im2;
    }
    store(next + n * channels, re), store(next + (modes + n) * channels, im);
    store(next + (n + 1) * channels, re2), store(next + (modes + n + 1) * channels, im2);
  }
  for (; n < modes; ++n) {
    const Lanes pole_re = all(head.pole_re[n]), pole_im = all(head.pole_im[n]);
    const Lanes read_re = all(head.read_re[n]), read_im = all(head.read_im[n]);
    Lanes re = load<Lanes>(state + n * channels), im = load<Lanes>(state + (modes + n) * channels);
#pragma GCC unroll 8
    for (int t = 0; t < Frames; ++t) {
      const Lanes new_re = pole_re * re + (load<Lanes>(u + t * head.row) - pole_im * im);
      im = pole_re * im + pole_im * re;
      re = new_re;
      sum[t] += read_re * re + read_im * im;
    }
    store(next + n * channels, re), store(next + (modes + n) * channels, im);
  }
  for (int t = 0; t < Frames; ++t) store(y + t * head.row, sum[t]);
}

// One channel, frame by frame; `stride` is 1 where a head has one channel, so that the modes are
// contiguous and the compiler's vectors run over them.
template <bool Contiguous>
inline void one_channel(const Head& head, int64_t frames, const float* u, const float* state,
                        float* y, float* next) {
  constexpr int kModes = kLanes < 8 ? kLanes : 8;  // wider, and summing the lanes costs more
  using Lanes = Vector<kModes>::Lanes;
  const int64_t modes = head.modes, stride = Contiguous ? 1 : head.channels;
  const int64_t whole = Contiguous ? modes / kModes * kModes : 0;
  for (int64_t n = 0; n < 2 * modes; ++n) next[n * stride] = state[n * stride];
  for (int64_t t = 0; t < frames; ++t) {
    const float in = u[t * head.row];
    float *re = next, *im = next + modes * stride;
    Lanes sums = {};
    float sum = head.skip * in;
    for (int64_t n = 0; n < whole; n += kModes) {
      const Lanes pole_re = load<Lanes>(head.pole_re + n), pole_im = load<Lanes>(head.pole_im + n);
      const Lanes old_re = load<Lanes>(re + n), old_im = load<Lanes>(im + n);
      const Lanes new_re = pole_re * old_re + (in - pole_im * old_im);
      const Lanes new_im = pole_re * old_im + pole_im * old_re;
      sums += load<Lanes>(head.read_re + n) * new_re;
      sums += load<Lanes>(head.read_im + n) * new_im;
      store(re + n, new_re), store(im + n, new_im);
    }
    for (int lane = 0; lane < kModes; ++lane) sum += sums[lane];
    for (int64_t n = whole; n < modes; ++n) {
      const float old_re = re[n * stride], old_im = im[n * stride];
      const float new_re = head.pole_re[n] * old_re + (in - head.pole_im[n] * old_im);
      const float new_im = head.pole_re[n] * old_im + head.pole_im[n] * old_re;
      sum += head.read_re[n] * new_re + head.read_im[n] * new_im;
      re[n * stride] = new_re, im[n * stride] = new_im;
    }
    y[t * head.row] = sum;
  }
}

// Channels from `p` on in vectors of `Width`, as many as there are, then in narrower ones.
template <int Width>
inline int64_t vectors(const Head& head, int64_t p, int64_t frames, const float* u,
                       const float* state, float* y, float* next) {
  for (; p + Width <= head.channels; p += Width) {
    const float* from = state + p;
    int64_t t = 0;
    for (; t + kFrames <= frames; t += kFrames, from = next + p) {
      const int64_t at = t * head.row + p;
      channel_tile<Width, kFrames>(head, u + at, from, y + at, next + p);
    }
    for (; t < frames; ++t, from = next + p) {
      const int64_t at = t * head.row + p;
      channel_tile<Width, 1>(head, u + at, from, y + at, next + p);
    }
  }
  if constexpr (Width > 4) p = vectors<Width / 2>(head, p, frames, u, state, y, next);
  return p;
}

inline void head_scan(const Head& head, int64_t frames, const float* u, const float* state,
                      float* y, float* next) {
  if (head.channels == 1) return one_channel<true>(head, frames, u, state, y, next);
  for (int64_t p = vectors<kLanes>(head, 0, frames, u, state, y, next); p < head.channels; ++p)
    one_channel<false>(head, frames, u + p, state + p, y + p, next + p);
}

// Advance one chunk of every stream. `next` may be `state`; `y` must not be `u`.
inline void ssm_scan(const ScanSizes& sizes, const ScanConstants& constants, const float* u,
                     const float* state, float* y, float* next) {
  const int64_t row = sizes.heads * sizes.channels, rows = 2 * sizes.modes * sizes.channels;
  for (int64_t b = 0; b < sizes.streams; ++b)
    for (int64_t h = 0; h < sizes.heads; ++h) {
      const int64_t n = h * sizes.modes, from = b * sizes.frames * row + h * sizes.channels;
      const Head head = {constants.pole_re + n, constants.pole_im + n, constants.read_re + n,
                         constants.read_im + n, constants.skip[h],     sizes.modes,
                         sizes.channels,        row};
      const int64_t at = (b * sizes.heads + h) * rows;
      head_scan(head, sizes.frames, u + from, state + at, y + from, next + at);
    }
}

}  // namespace todm
