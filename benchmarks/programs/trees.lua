-- trees.lua DEPTH: perfect binary trees, made, counted and dropped; one is kept all the time.
local function make(depth)
	if depth == 0 then return {} end
	return {make(depth - 1), make(depth - 1)}
end

local function count(tree)
	return tree[1] and 1 + count(tree[1]) + count(tree[2]) or 1
end

local deepest = tonumber(arg[1])
local kept = make(deepest)
for depth = 4, deepest, 2 do
	local rounds, sum = 1 << (deepest - depth + 4), 0
	for _ = 1, rounds do sum = sum + count(make(depth)) end
	print(depth, rounds, sum)
end
print(count(kept))
