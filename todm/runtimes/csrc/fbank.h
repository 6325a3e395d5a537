// Kaldi's log mel filterbank in a few lines, for devices: what kaldi-native-fbank computes with the
// settings of a contract, to rounding (edges not snipped, DC removed, povey window, power
// spectrum, no dither). Povey et al. 2011, "The Kaldi speech recognition toolkit".
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

namespace todm {

struct FbankSettings {
  int rate_hz = 16000, bins = 80, shift_ms = 10, length_ms = 25;
  double low_hz = 20.0, high_hz = -400.0, preemphasis = 0.97;
};

class Fbank {
 public:
  explicit Fbank(const FbankSettings& settings)
      : settings_(settings),
        shift_(settings.rate_hz * settings.shift_ms / 1000),
        window_(settings.rate_hz * settings.length_ms / 1000) {
    while (size_ < static_cast<int>(window_.size())) size_ *= 2;
    const double step = 2.0 * M_PI / static_cast<double>(window_.size() - 1);
    for (size_t i = 0; i < window_.size(); ++i)
      window_[i] = std::pow(0.5 - 0.5 * std::cos(step * static_cast<double>(i)), 0.85);
    for (int k = 0; k < size_ / 2; ++k) turns_.push_back(std::polar(1.0, -2.0 * M_PI * k / size_));
    make_triangles();
  }

  // Frames of a finished signal.
  long num_frames(long samples) const { return (samples + shift_ / 2) / shift_; }

  // One frame of a signal, mirrored at its ends; `out` holds `bins` values.
  void frame(const std::vector<float>& signal, long index, float* out) const {
    const long length = static_cast<long>(window_.size()), end = static_cast<long>(signal.size());
    const long first = index * shift_ + shift_ / 2 - length / 2;
    std::vector<std::complex<double>> x(size_);
    double mean = 0.0;
    for (long i = 0; i < length; ++i) {
      long at = first + i;
      while (at < 0 || at >= end) at = at < 0 ? -at - 1 : 2 * end - 1 - at;
      x[i] = signal[at];
      mean += signal[at] / static_cast<double>(length);
    }
    for (long i = 0; i < length; ++i) x[i] -= mean;
    for (long i = length - 1; i >= 0; --i) x[i] -= settings_.preemphasis * x[std::max(i - 1, 0L)];
    for (long i = 0; i < length; ++i) x[i] *= window_[i];
    transform(x);
    for (size_t bin = 0; bin < triangles_.size(); ++bin) {
      double energy = 0.0;
      for (size_t k = 0; k < triangles_[bin].weights.size(); ++k)
        energy += triangles_[bin].weights[k] * std::norm(x[triangles_[bin].first + k]);
      const double floor = std::numeric_limits<float>::epsilon();
      out[bin] = static_cast<float>(std::log(std::max(energy, floor)));
    }
  }

 private:
  struct Triangle {
    int first = 0;
    std::vector<double> weights;
  };

  static double mel(double hz) { return 1127.0 * std::log(1.0 + hz / 700.0); }

  void make_triangles() {
    const double nyquist = settings_.rate_hz / 2.0;
    const double high_hz = settings_.high_hz > 0 ? settings_.high_hz : nyquist + settings_.high_hz;
    const double low = mel(settings_.low_hz), step = (mel(high_hz) - low) / (settings_.bins + 1);
    triangles_.resize(settings_.bins);
    for (int bin = 0; bin < settings_.bins; ++bin) {
      const double left = low + bin * step, centre = left + step, right = centre + step;
      Triangle& triangle = triangles_[bin];
      for (int k = 0; k < size_ / 2; ++k) {
        const double at = mel(static_cast<double>(k) * settings_.rate_hz / size_);
        if (at <= left || at >= right) continue;
        if (triangle.weights.empty()) triangle.first = k;
        triangle.weights.push_back(at <= centre ? (at - left) / step : (right - at) / step);
      }
    }
  }

  // In-place radix-2 transform (Cooley and Tukey 1965).
  void transform(std::vector<std::complex<double>>& x) const {
    for (int i = 1, j = 0; i < size_; ++i) {
      int bit = size_ / 2;
      for (; j & bit; bit /= 2) j ^= bit;
      j ^= bit;
      if (i < j) std::swap(x[i], x[j]);
    }
    for (int half = 1; half < size_; half *= 2)
      for (int start = 0; start < size_; start += 2 * half)
        for (int k = 0; k < half; ++k) {
          const auto even = x[start + k];
          const auto odd = x[start + k + half] * turns_[k * (size_ / 2 / half)];
          x[start + k] = even + odd;
          x[start + k + half] = even - odd;
        }
  }

  FbankSettings settings_;
  long shift_;
  int size_ = 1;
  std::vector<double> window_;
  std::vector<std::complex<double>> turns_;
  std::vector<Triangle> triangles_;
};

}  // namespace todm
