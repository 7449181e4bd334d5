/*
 * A program under test: exceptions through many frames and across threads, thread_local objects whose destructors allocate, containers
 * that grow and shrink. Prints sums that do not depend on scheduling.
 */
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace
{

std::atomic<unsigned long> destroyed{0}, thrown{0};

/* Its destructor runs at thread exit and allocates there. */
struct keeper {
	std::vector<std::string> lines;

	~keeper()
	{
		std::map<std::string, std::size_t> counts;
		for (const std::string &line : lines)
			counts[line.substr(0, 12)] += line.size();
		for (const auto &entry : counts)
			destroyed += entry.second;
	}
};

thread_local keeper kept;
thread_local std::unique_ptr<std::string> last = std::make_unique<std::string>("none");

struct node {
	std::unique_ptr<node> left, right;
	std::string text;
	explicit node(int depth)
	    : text("node at depth " + std::to_string(depth) + " with a text that is not short")
	{
		if (depth > 0) {
			left = std::make_unique<node>(depth - 1);
			right = std::make_unique<node>(depth - 1);
		}
	}
	std::size_t count() const
	{
		return text.size() + (left ? left->count() : 0) + (right ? right->count() : 0);
	}
};

struct failure : std::runtime_error {
	std::shared_ptr<std::vector<int>> payload;
	explicit failure(int value)
	    : std::runtime_error("failure " + std::to_string(value)),
	      payload(std::make_shared<std::vector<int>>(100, value))
	{
	}
};

int descend(int depth, int value)
{
	std::string local(static_cast<std::size_t>(depth) * 10, 'd');
	auto block = std::make_unique<std::vector<int>>(50, value);
	if (depth == 0) {
		thrown++;
		throw failure(value);
	}
	try {
		return descend(depth - 1, value) + static_cast<int>(local.size());
	} catch (const failure &) {
		if (depth % 7 == 0)
			std::throw_with_nested(std::logic_error(local));
		throw;
	}
}

unsigned long unnest(const std::exception &error)
{
	unsigned long sum = std::char_traits<char>::length(error.what());
	try {
		std::rethrow_if_nested(error);
	} catch (const std::exception &inner) {
		sum += unnest(inner);
	}
	return sum;
}

unsigned long work(int seed)
{
	unsigned long sum = 0;
	std::deque<std::unique_ptr<node>> trees;
	std::unordered_map<int, std::set<std::string>> index;
	for (int i = 0; i < 60; i++) {
		trees.push_back(std::make_unique<node>(8));
		if (trees.size() > 5)
			trees.pop_front();
		for (int j = 0; j < 100; j++)
			index[j % 17].insert("entry " + std::to_string((seed + i * j) % 1000));
		if (i % 10 == 0)
			index.erase(seed % 17);
		try {
			descend(i % 30 + 1, seed);
		} catch (const std::exception &error) {
			sum += unnest(error);
		}
		kept.lines.push_back("line " + std::to_string(i) +
				     std::string(static_cast<std::size_t>(i), 'k'));
		last = std::make_unique<std::string>(kept.lines.back());
	}
	for (const auto &tree : trees)
		sum += tree->count();
	for (const auto &entry : index)
		sum += entry.second.size();
	return sum;
}

} // namespace

int main()
{
	unsigned long sum = 0;
	for (int round = 0; round < 48; round++) {
		std::vector<std::future<unsigned long>> results;
		for (int i = 0; i < 8; i++)
			results.push_back(std::async(std::launch::async, work, i));
		for (auto &result : results)
			sum += result.get();
	}
	auto failing = std::async(std::launch::async, [] { return descend(20, 1); });
	try {
		failing.get();
	} catch (const std::exception &error) {
		sum += unnest(error);
	}
	std::printf("%lu %lu %lu\n", sum, destroyed.load(), thrown.load());
	return 0;
}
