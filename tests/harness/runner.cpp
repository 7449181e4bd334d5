/*
 * The one C++ file of the harness: makes a googletest of every TEST of one C test program.
 *
 *	runner PROGRAM [--preload LIBRARY] [--options TEXT] [--gtest_...]
 *
 * PROGRAM --list names the tests and what is expected of each. Each runs as `PROGRAM --run NAME` in a process group of its own, with
 * LD_PRELOAD and GASKET_OPTIONS set as asked; its output goes to two unlinked files and is shown only on failure. When the time
 * limit is over the group is killed, and it is killed after the test too, so that nothing a test leaves behind outlives it.
 */
#include "tests/harness/test.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace
{

struct suite {
	std::string program;
	std::string preload;
	std::string options;
};

/* A line of --list. */
struct expectation {
	std::string name, file;
	int limit_seconds = 0, signal = 0, exit_code = 0;
	bool has_error = false, has_contains = false;
	std::string options, error, contains;
};

struct outcome {
	int status = 0;
	bool timed_out = false;
	std::string output, error, waiting;
};

std::string read_file(int file)
{
	std::string text(static_cast<size_t>(lseek(file, 0, SEEK_END)), '\0');
	ssize_t got = pread(file, text.data(), text.size(), 0);
	text.resize(got < 0 ? 0 : static_cast<size_t>(got));
	return text;
}

/* Where each thread of a process that ran out of time stands, and of its children: name, system call, kernel function. */
std::string describe_threads(pid_t process)
{
	std::string text;
	std::error_code error;
	for (const auto &task : std::filesystem::directory_iterator(
		     "/proc/" + std::to_string(process) + "/task", error)) {
		std::ifstream name(task.path() / "comm"), call(task.path() / "syscall"),
			where(task.path() / "wchan");
		std::string line;
		if (!std::getline(name, line))
			continue;
		text += "  thread " + task.path().filename().string() + " " + line;
		if (std::getline(call, line))
			text += ", syscall " + line;
		if (std::getline(where, line))
			text += ", in " + line;
		text += "\n";
		std::ifstream children(task.path() / "children");
		for (pid_t child; children >> child;)
			text += " child " + std::to_string(child) + "\n" + describe_threads(child);
	}
	return text;
}

[[noreturn]] void execute(
	const suite &suite, const std::vector<std::string> &arguments, const std::string &options)
{
	std::vector<char *> words;
	for (const std::string &argument : arguments)
		words.push_back(const_cast<char *>(argument.c_str()));
	words.push_back(nullptr);
	if (!suite.preload.empty())
		setenv("LD_PRELOAD", suite.preload.c_str(), 1);
	if (!suite.preload.empty() || !options.empty())
		setenv("GASKET_OPTIONS", options.c_str(), 1);
	execv(words[0], words.data());
	perror(words[0]);
	_exit(127);
}

std::string join_options(const std::string &left, const std::string &right)
{
	return left.empty() || right.empty() ? left + right : left + ":" + right;
}

/* Runs the program to its end or the limit. */
outcome run(const suite &suite, const std::vector<std::string> &arguments,
	const std::string &options, int limit_seconds)
{
	outcome result;
	int output = memfd_create("stdout", MFD_CLOEXEC),
	    error = memfd_create("stderr", MFD_CLOEXEC);
	pid_t child = fork();
	if (child == 0) {
		setpgid(0, 0);
		int input = open("/dev/null", O_RDONLY);
		dup2(input, STDIN_FILENO);
		dup2(output, STDOUT_FILENO);
		dup2(error, STDERR_FILENO);
		close(input);
		execute(suite, arguments, options);
	}
	setpgid(child, child);
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(limit_seconds);
	while (waitpid(child, &result.status, WNOHANG) == 0) {
		if (std::chrono::steady_clock::now() > end) {
			result.timed_out = true;
			result.waiting = describe_threads(child);
			kill(child, SIGKILL);
			waitpid(child, &result.status, 0);
			break;
		}
		std::this_thread::sleep_for(std::chrono::milliseconds(2));
	}
	kill(-child, SIGKILL);
	result.output = read_file(output);
	result.error = read_file(error);
	close(output);
	close(error);
	return result;
}

std::string describe(const outcome &result)
{
	std::ostringstream text;
	if (result.timed_out)
		text << "ran out of time\n" << result.waiting;
	else if (WIFSIGNALED(result.status))
		text << "died of signal " << WTERMSIG(result.status) << " ("
		     << strsignal(WTERMSIG(result.status)) << ")\n";
	else
		text << "ended with status " << WEXITSTATUS(result.status) << "\n";
	if (!result.output.empty())
		text << "--- stdout\n" << result.output;
	if (!result.error.empty())
		text << "--- stderr\n" << result.error;
	return text.str();
}

bool ended_as_expected(const expectation &expected, const outcome &result)
{
	if (result.timed_out)
		return false;
	if (WIFSIGNALED(result.status))
		return WTERMSIG(result.status) == expected.signal;
	return !expected.signal && WEXITSTATUS(result.status) == expected.exit_code;
}

class forked_test : public testing::Test
{
      public:
	forked_test(const suite &test_suite, const expectation &test_expected)
	    : suite_(test_suite), expected_(test_expected)
	{
	}

	void TestBody() override
	{
		outcome result = run(suite_, {suite_.program, "--run", expected_.name},
			join_options(suite_.options, expected_.options), expected_.limit_seconds);
		if (!result.timed_out && WIFEXITED(result.status) &&
			WEXITSTATUS(result.status) == TEST_SKIPPED &&
			expected_.exit_code != TEST_SKIPPED)
			GTEST_SKIP() << result.error;
		EXPECT_TRUE(ended_as_expected(expected_, result))
			<< expectation_text() << describe(result);
		if (expected_.has_error) {
			EXPECT_EQ(expected_.error, result.error);
		}
		if (expected_.has_contains) {
			EXPECT_NE(result.error.find(expected_.contains), std::string::npos)
				<< "stderr does not contain: " << expected_.contains << "\n"
				<< describe(result);
		}
	}

      private:
	std::string expectation_text() const
	{
		if (expected_.signal)
			return std::string("expected: ") + strsignal(expected_.signal) + "\n";
		return "expected: exit status " + std::to_string(expected_.exit_code) + "\n";
	}

	const suite suite_;
	const expectation expected_;
};

/* "-" is no text, "=6162" is "ab". */
bool parse_text(const std::string &field, std::string &text)
{
	for (size_t i = 1; i + 1 < field.size(); i += 2)
		text.push_back(static_cast<char>(std::stoi(field.substr(i, 2), nullptr, 16)));
	return field != "-";
}

expectation parse_line(const std::string &line)
{
	std::vector<std::string> fields;
	std::istringstream stream(line);
	for (std::string field; std::getline(stream, field, '\t');)
		fields.push_back(field);
	if (fields.size() != 8) {
		fprintf(stderr, "runner: not a line of --list: %s\n", line.c_str());
		exit(2);
	}
	expectation result;
	result.name = fields[0];
	result.file = fields[1];
	result.limit_seconds = std::stoi(fields[2]);
	result.signal = std::stoi(fields[3]);
	result.exit_code = std::stoi(fields[4]);
	parse_text(fields[5], result.options);
	result.has_error = parse_text(fields[6], result.error);
	result.has_contains = parse_text(fields[7], result.contains);
	return result;
}

/* "tests/unit/bits.c" becomes "bits", googletest's name of the suite. */
std::string suite_name(const std::string &file)
{
	size_t start = file.rfind('/') + 1;
	return file.substr(start, file.rfind('.') - start);
}

bool register_tests(const suite &suite)
{
	// The list is asked for without the preload: a library that cannot start must fail tests, not hide them.
	struct suite plain = suite;
	plain.preload.clear();
	outcome list = run(plain, {suite.program, "--list"}, "", 10);
	if (list.timed_out || list.status != 0) {
		fprintf(stderr, "runner: %s --list %s\n", suite.program.c_str(),
			describe(list).c_str());
		return false;
	}
	std::istringstream lines(list.output);
	bool any = false;
	for (std::string line; std::getline(lines, line); any = true) {
		expectation expected = parse_line(line);
		testing::RegisterTest(suite_name(expected.file).c_str(), expected.name.c_str(),
			nullptr, nullptr, expected.file.c_str(), 1,
			[=]() -> testing::Test * { return new forked_test(suite, expected); });
	}
	if (!any)
		fprintf(stderr, "runner: %s has no tests\n", suite.program.c_str());
	return any;
}

} // namespace

int main(int count, char **arguments)
{
	testing::InitGoogleTest(&count, arguments);
	suite suite;
	for (int i = 1; i < count; i++) {
		std::string argument = arguments[i];
		if (argument == "--preload" && i + 1 < count)
			suite.preload = arguments[++i];
		else if (argument == "--options" && i + 1 < count)
			suite.options = arguments[++i];
		else if (suite.program.empty())
			suite.program = argument;
		else
			suite.program.clear(), i = count;
	}
	if (suite.program.empty()) {
		fprintf(stderr,
			"usage: %s PROGRAM [--preload LIBRARY] [--options TEXT] [--gtest_...]\n",
			arguments[0]);
		return 2;
	}
	return register_tests(suite) ? RUN_ALL_TESTS() : 1;
}
