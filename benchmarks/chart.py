"""The charts of the results, drawn by matplotlib: summary.svg (suites) and rows.svg (every row). Analyse.py calls it; without matplotlib there is a line
that says so and no chart."""
import os

import analyse

COLOURS = {'glibc': '#7f7f7f', 'jemalloc': '#8c564b', 'mimalloc': '#1f77b4', 'tcmalloc': '#9467bd', 'gasket-fast': '#d62728', 'gasket': '#ff7f0e'}
LABELS = {'gasket-fast': 'Gasket, mode=fast', 'gasket': 'Gasket'}
TITLES = {'alloc': 'bound by allocation', 'one-cpu': 'the same on one CPU', 'programs': 'whole programs', 'small': 'small processes'}
METRICS = [('wall', 'time'), ('peak_kib', 'peak memory')]


def dots(axes, at, ratio, name, count, index):
	"""One allocator's dot on the line `at`, with its interval, a little off the others'."""
	height = at + (index - (count - 1) / 2) * 0.7 / count
	colour = COLOURS.get(name, 'black')
	axes.plot([ratio.low, ratio.high], [height, height], color=colour, linewidth=1.5, solid_capstyle='butt')
	axes.plot([ratio.value], [height], 'o', color=colour, markersize=4.5)


def panel(axes, title, lines, names):
	"""`lines`: (label, {allocator: ratio}) from the top down."""
	for at, (_, ratios) in enumerate(lines):
		if at % 2:
			axes.axhspan(at - 0.5, at + 0.5, color='#f4f4f4', zorder=0)
		for index, name in enumerate(names):
			if ratios.get(name):
				dots(axes, at, ratios[name], name, len(names), index)
	axes.axvline(1, color=COLOURS['glibc'], linewidth=1, zorder=1)
	axes.set_xscale('log')
	low = min([ratio.low for _, ratios in lines for ratio in ratios.values() if ratio] + [0.8])
	high = max([ratio.high for _, ratios in lines for ratio in ratios.values() if ratio] + [1.25])
	ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50) if low * 0.8 <= tick <= high * 1.25]
	axes.set_xlim(low / 1.08, high * 1.08)
	axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
	axes.minorticks_off()
	axes.set_ylim(len(lines) - 0.5, -0.5)
	axes.set_yticks(range(len(lines)), [label for label, _ in lines])
	axes.tick_params(axis='y', length=0)
	axes.set_title(title, fontsize=10, loc='left')
	axes.grid(axis='x', color='#dddddd', linewidth=0.6)
	for side in ('top', 'right', 'left'):
		axes.spines[side].set_visible(False)


def draw_figure(pyplot, path, lines, names, caption, height):
	"""A panel for each metric; lines[metric] as for panel()."""
	figure, axes = pyplot.subplots(1, len(METRICS), figsize=(11, height), sharey=True, layout='constrained')
	for (metric, title), place in zip(METRICS, axes):
		panel(place, f'{title}, ratio to glibc (less is better)', lines[metric], names)
	handles = [pyplot.Line2D([], [], color=COLOURS.get(name, 'black'), marker='o', label=LABELS.get(name, name)) for name in names]
	figure.legend(handles=handles, loc='upper center', ncol=len(names), frameon=False)
	figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.4 / height))
	figure.supxlabel(caption, fontsize=7, color='#666666')
	figure.savefig(path, metadata={'Date': None})
	pyplot.close(figure)


def draw(suites, folder):
	try:
		import matplotlib
	except ImportError:
		print('no chart: matplotlib is not installed (python3-matplotlib)')
		return
	matplotlib.use('svg')
	matplotlib.rcParams['svg.hashsalt'] = 'gasket'
	from matplotlib import pyplot
	shown = [suite for suite in suites.values() if suite.name in TITLES and suite.runs]
	if not shown:
		return
	names = [name for name in analyse.ORDER if name != analyse.BASE and any(name in suite.allocators for suite in shown)]
	head = shown[0].head
	caption = f'{head.get("machine", "")}; commit {head.get("commit", "")}, {head.get("date", "")}; {head.get("rounds", "")} rounds, bars: 95 % intervals'
	summary = {metric: [(f'{TITLES[suite.name]} ({len(suite.runs)})', {name: suite.mean_ratio(name, analyse.BASE, metric)
		for name in names}) for suite in shown if suite.name != 'small'] for metric, _ in METRICS}
	if summary['wall']:
		draw_figure(pyplot, os.path.join(folder, 'summary.svg'), summary, names, caption, 1.2 + 0.75 * len(summary['wall']))
	rows = {metric: [(f'{suite.name}: {analyse.row_name(key)}', {name: suite.ratio([key], name, analyse.BASE, metric)
		for name in names if key in suite.keys(name, analyse.BASE)})
		for suite in shown for key in suite.runs] for metric, _ in METRICS}
	draw_figure(pyplot, os.path.join(folder, 'rows.svg'), rows, names, caption, 1.5 + 0.42 * len(rows['wall']))
