# SPDX-License-Identifier: Apache-2.0
"""Who writes the variables of an elaborated design, through the tasks that are called as well.

A variable that an always_ff, always_comb or always_latch process writes has no other process that
does (IEEE 1800-2017, 9.2.2.4). slang's analysis knows what a process writes itself, and not what
tasks do that it calls by a hierarchical name.
"""

from pyslang import ast

ALONE = (ast.ProceduralBlockKind.AlwaysFF, ast.ProceduralBlockKind.AlwaysComb,
         ast.ProceduralBlockKind.AlwaysLatch)
STEPS = (ast.UnaryOperator.Preincrement, ast.UnaryOperator.Predecrement,
         ast.UnaryOperator.Postincrement, ast.UnaryOperator.Postdecrement)


def targets(expression):
    """The variables in what is assigned to, without those that only say where in it."""
    match expression:
        case ast.NamedValueExpression() | ast.HierarchicalValueExpression():
            yield expression.symbol
        case ast.ConcatenationExpression():
            for operand in expression.operands:
                yield from targets(operand)
        case ast.StreamingConcatenationExpression():
            for stream in expression.streams:
                yield from targets(stream.operand)
        case ast.ElementSelectExpression() | ast.RangeSelectExpression() | \
                ast.MemberAccessExpression():
            yield from targets(expression.value)
        case ast.ConversionExpression():
            yield from targets(expression.operand)


class Writers:
    """Of a design: the processes that write each of its variables, by their paths."""

    def __init__(self, compilation):
        self.tasks = {}  # by path: what each writes
        self.processes = {}  # by variable: (kind, where) of each process
        compilation.getRoot().visit(self.process)

    def process(self, symbol):
        if isinstance(symbol, ast.ProceduralBlockSymbol):
            where = (symbol.procedureKind, symbol.hierarchicalPath, str(symbol.location))
            for variable in self.written(symbol.body):
                self.processes.setdefault(variable, set()).add(where)

    def written(self, body):
        """Paths of the variables that the statement writes, and the tasks in it."""
        found = set()

        def add(expression):
            found.update(s.hierarchicalPath for s in targets(expression)
                         if getattr(s, "lifetime", None) == ast.VariableLifetime.Static)

        def look(node):
            match node:
                case ast.AssignmentExpression():
                    add(node.left)
                case ast.UnaryExpression() if node.op in STEPS:
                    add(node.operand)
                case ast.CallExpression() if not node.isSystemCall:
                    for argument, formal in zip(node.arguments, node.subroutine.arguments,
                                                strict=False):
                        if formal.direction == ast.ArgumentDirection.Ref:
                            add(argument)
                    found.update(self.by_task(node.subroutine))

        body.visit(look)
        return found

    def by_task(self, task):
        path = task.hierarchicalPath
        if path not in self.tasks:
            # One that calls itself writes nothing more by that.
            self.tasks[path] = set()
            self.tasks[path] = self.written(task.body)
        return self.tasks[path]

    def wrong(self):
        """A line for each variable that has a writer too many."""
        for variable, processes in sorted(self.processes.items()):
            if len(processes) > 1 and any(kind in ALONE for kind, *_ in processes):
                who = ", ".join(f"{kind.name} in {path}" for kind, path, _ in
                                sorted(processes, key=lambda p: (p[1], p[0].name)))
                yield f"variable '{variable}' is written by more than one process: {who}"
