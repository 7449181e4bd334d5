// A file for the compiler: containers of containers, each of which is a few hundred functions.
#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

template <int N> struct tag {
	int value = N;
	bool operator<(const tag &other) const { return value < other.value; }
	bool operator==(const tag &other) const { return value == other.value; }
};

template <int N> struct std::hash<tag<N>> {
	size_t operator()(const tag<N> &key) const { return std::hash<int>()(key.value); }
};

template <int N> long use(const std::vector<std::string> &words)
{
	std::map<tag<N>, std::vector<std::string>> ordered;
	std::unordered_map<tag<N>, std::set<std::string>> hashed;
	long sum = 0;

	for (const auto &word : words) {
		tag<N> key{static_cast<int>(word.size()) % (N + 1)};
		ordered[key].push_back(word);
		hashed[key].insert(word + "!");
	}
	for (auto &[key, list] : ordered) {
		std::sort(list.begin(), list.end(), std::greater<>());
		sum += std::accumulate(list.begin(), list.end(), 0L,
			[](long total, const std::string &word) { return total + static_cast<long>(word.size()); });
		sum += static_cast<long>(hashed[key].size());
	}
	return sum + use<N - 1>(words);
}

template <> long use<0>(const std::vector<std::string> &words)
{
	return static_cast<long>(words.size());
}

long use_all(const std::vector<std::string> &words)
{
	return use<DEPTH>(words);
}
