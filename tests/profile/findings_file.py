"""Reads files of findings as core/profile/findings.h describes them, for tests; what is wrong with one is an exception."""
import struct

KINDS = ('leak', 'indirect', 'possible', 'dangling', 'misuse', 'growing')
VERDICTS = ('none', 'full', 'partial')
NONE = 0xffffffff
META, STRINGS, MODULES, STACKS, FRAMES, LIST, HOLDERS = range(1, 8)
FORMATS = {
	META: ('<4I16Q4I', 'process reason verdict no_verdict written_ns age_ns sample_bytes cycles live_blocks live_bytes dangling_blocks dangling_bytes '
		'leaked_blocks leaked_bytes reclaimed_blocks reclaimed_bytes double_frees invalid_frees dropped_stacks dropped_findings command executable '
		'stacks reserved'),
	MODULES: ('<4I3Q2I32s', 'path first_epoch last_epoch is_mapped low high bias build_id_bytes reserved build_id'),
	STACKS: ('<4IQ', 'id epoch depth reserved first_frame'),
	FRAMES: ('<Q', 'address'),
	LIST: ('<6I11Q', 'kind detail stack other_stack parent cycles blocks bytes indirect_blocks indirect_bytes reclaimed_blocks reclaimed_bytes '
		'slot_bytes first_seen_ms last_seen_ms address slope_bytes_per_s'),
	HOLDERS: ('<6I2Q', 'kind finding thread module stack name address target'),
}


class Record:
	def __init__(self, names, values):
		self.__dict__.update(zip(names, values))

	def __repr__(self):
		return repr(self.__dict__)


def require(condition, what):
	if not condition:
		raise ValueError(what)


class Findings:
	def __init__(self, path):
		with open(path, 'rb') as file:
			data = file.read()
		magic, header_bytes, section_bytes, at, count, file_bytes = struct.unpack_from('<QIIQQQ', data)
		require(magic == 0x31444e4946534147, 'magic number')
		require(file_bytes == len(data), 'length')
		require(header_bytes == 64 and section_bytes == 24 and at % 8 == 0 and at + count * section_bytes == len(data), 'table of sections')
		self.sections = {}
		for i in range(count):
			kind, record_bytes, offset, records = struct.unpack_from('<IIQQ', data, at + i * section_bytes)
			require(kind not in self.sections, f'section {kind} is there twice')
			require(offset % 8 == 0 and 64 <= offset and offset + record_bytes * records <= at, f'place of section {kind}')
			self.sections[kind] = self.records(data, kind, record_bytes, offset, records)
		self.meta, = self.sections[META]
		self.strings = self.sections.get(STRINGS, b'')
		self.list = self.sections.get(LIST, [])
		self.holders = self.sections.get(HOLDERS, [])
		self.modules = self.sections.get(MODULES, [])
		self.frames = [one.address for one in self.sections.get(FRAMES, [])]
		self.stacks = {one.id: one for one in self.sections.get(STACKS, [])}
		self.check()

	@staticmethod
	def records(data, kind, record_bytes, offset, count):
		if kind == STRINGS:
			return data[offset:offset + count]
		if kind not in FORMATS:
			return []
		layout, names = FORMATS[kind]
		require(record_bytes >= struct.calcsize(layout), f'records of section {kind}')
		return [Record(names.split(), struct.unpack_from(layout, data, offset + i * record_bytes)) for i in range(count)]

	def check(self):
		for stack in self.stacks.values():
			require(1 <= stack.depth and stack.first_frame + stack.depth <= len(self.frames), 'frames of a stack')
		held = {}
		for finding in self.list:
			require(finding.kind < len(KINDS), 'kind')
			require(finding.blocks >= finding.reclaimed_blocks and finding.blocks > 0, 'blocks')
			require(finding.stack == 0 or finding.stack in self.stacks, 'stack')
			require(finding.other_stack == 0 or finding.other_stack in self.stacks, 'other stack')
			if finding.parent != NONE:
				require(KINDS[self.list[finding.parent].kind] == 'leak', 'parent')
				held[finding.parent] = held.get(finding.parent, 0) + finding.bytes
			require(finding.first_seen_ms <= finding.last_seen_ms, 'times')
		for i, finding in enumerate(self.list):
			require(finding.indirect_bytes == held.get(i, 0), 'sum of what is held')
		for holder in self.holders:
			require(holder.finding < len(self.list), 'finding of a holder')

	def string(self, offset):
		return self.strings[offset:self.strings.index(0, offset)].decode() if offset else ''

	def of_kind(self, kind):
		return [one for one in self.list if KINDS[one.kind] == kind]

	def places(self, identity):
		"""A stack as places in files, innermost first."""
		stack = self.stacks.get(identity)
		frames = self.frames[stack.first_frame:stack.first_frame + stack.depth] if stack else []
		return tuple(self.place(frame, stack.epoch) for frame in frames)

	def place(self, frame, epoch):
		for module in self.modules:
			if module.low <= frame - 1 < module.high and module.first_epoch <= epoch <= module.last_epoch:
				return f'{self.string(module.path)}+{frame - module.bias:#x}'
		return '?'

	def groups(self):
		"""What must be the same in every run."""
		def name(finding):
			return KINDS[finding.kind], finding.detail, self.places(finding.stack), self.places(finding.other_stack), finding.slot_bytes
		return [(name(one), name(self.list[one.parent]) if one.parent != NONE else None, one.blocks, one.bytes, one.reclaimed_blocks) for one in self.list]
