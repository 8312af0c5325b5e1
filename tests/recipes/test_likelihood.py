"""The likelihood of replies, against transformers' own loss over full logits, one row at a time."""

import math
from pathlib import Path

import pytest
import torch

from recipes.bank import Bank
from recipes.base_model import BaseModel, load_base
from recipes.engine import replies
from recipes.exchanges import PromptForm, Row
from recipes.likelihood import ROWS_AT_ONCE, reply_logits, score, written_greedily
from recipes.scores import Score, mean_nll, perplexity


@pytest.fixture(params=["llama", "gemma"])
def base(request: pytest.FixtureRequest) -> BaseModel:
    base = load_base(request.getfixturevalue(f"pico_{request.param}"), name=request.param, fingerprint="f",
                     device=torch.device("cpu"))  # fmt: skip
    for parameter in base.model.parameters():
        parameter.mul_(3.0)  # far from uniform: a wrong position is a wrong number
    return base


def ragged(count: int = ROWS_AT_ONCE + 3) -> list[Row]:
    """Rows of different lengths with scored tokens anywhere but first, one of them with a single one."""
    generator = torch.Generator().manual_seed(5)
    rows = []
    for index in range(count):
        length = int(torch.randint(3, 60, (1,), generator=generator))
        tokens = torch.randint(0, 264, (length,), generator=generator).tolist()
        scored = (torch.rand(length, generator=generator) < 0.4).tolist()
        scored[0], scored[-1] = False, True
        rows.append(Row(tokens, [False] * (length - 1) + [True] if index == 2 else scored))
    return rows


def reference(base: BaseModel, row: Row) -> float:
    """Total NLL: transformers' mean loss with labels, -100 where nothing is scored, times their count."""
    tokens = torch.tensor([row.tokens])
    labels = torch.where(torch.tensor([row.scored]), tokens, -100)
    with torch.inference_mode():
        loss = base.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=labels).loss
    return float(loss) * sum(row.scored)


def test_scores_are_transformers_loss_on_ragged_rows(base: BaseModel) -> None:
    rows = ragged()
    scores = score(base, rows)
    assert [each.tokens for each in scores] == [sum(row.scored) for row in rows]
    expected = torch.tensor([reference(base, row) for row in rows])
    assert expected.std() > 1
    torch.testing.assert_close(torch.tensor([each.total for each in scores]), expected, atol=1e-3, rtol=1e-5)


def test_a_row_scores_the_same_alone_and_in_company(base: BaseModel) -> None:
    rows = ragged()
    together = torch.tensor([each.total for each in score(base, rows)])
    alone = torch.tensor([score(base, [row])[0].total for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)


def test_the_same_rows_give_the_same_bits(base: BaseModel) -> None:
    assert score(base, ragged()) == score(base, ragged())


def test_logits_come_for_scored_tokens_alone_in_row_order(base: BaseModel) -> None:
    rows = ragged(3)
    logits, targets, owner, _ = reply_logits(base, rows)
    wanted = [(index, place) for index, row in enumerate(rows) for place, scored in enumerate(row.scored) if scored]
    assert logits.shape == (len(wanted), 264)
    assert owner.tolist() == [index for index, _ in wanted]
    assert targets.tolist() == [rows[index].tokens[place] for index, place in wanted]
    for line, (index, place) in zip(logits, wanted, strict=True):
        before = torch.tensor([rows[index].tokens[:place]])
        torch.testing.assert_close(line, base.model(input_ids=before).logits[0, -1], atol=1e-4, rtol=1e-4)


def test_the_head_is_given_back_even_when_the_model_fails(base: BaseModel) -> None:
    tokens = torch.tensor([[5, 6, 7]])
    before = base.model(input_ids=tokens).logits
    with pytest.raises(IndexError):
        reply_logits(base, [Row([5, 6, 999_999], [False, False, True])])
    assert torch.equal(base.model(input_ids=tokens).logits, before)


def test_a_real_conversation_is_scored_on_its_replies(pico_llama: Path) -> None:
    base = load_base(pico_llama, name="pico", fingerprint="f", device=torch.device("cpu"))
    talk = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Dust, dust!"}]
    row = PromptForm(base.tokenizer).row(talk)
    (found,) = score(base, [row])
    assert found.tokens == len("Dust, dust!") + 1
    assert found.total == pytest.approx(reference(base, row), rel=1e-5)
    assert found.nll == pytest.approx(math.log(264), rel=0.05)  # a random model is close to uniform


def test_the_mean_weighs_tokens_and_not_rows() -> None:
    assert mean_nll([Score(2.0, 1), Score(4.0, 8)]) == pytest.approx(6 / 9)
    assert Score(4.0, 8).nll == 0.5


@pytest.mark.parametrize(("nll", "expected"), [(0.0, 1.0), (math.log(7.44), 7.44), (1e9, math.exp(700))])
def test_perplexity_is_the_exponential_and_never_overflows(nll: float, expected: float) -> None:
    assert perplexity(nll) == pytest.approx(expected)


def test_what_greedy_decoding_wrote_is_confirmed_and_nothing_else(base: BaseModel) -> None:
    prompts = [[5, 17, 42], [88, 3, 150, 9, 31], [7, 7, 7, 7]]
    written = replies(Bank(base), prompts, mix={}, stop=[], max_new_tokens=20)
    assert all(written)

    def rows(answers: list[list[int]]) -> list[Row]:
        return [Row(prompt + answer, [False] * len(prompt) + [True] * len(answer))
                for prompt, answer in zip(prompts, answers, strict=True)]  # fmt: skip

    assert written_greedily(base, rows(written)) == [True, True, True]
    other = [[*written[1][:-1], (written[1][-1] + 1) % 264]]
    assert written_greedily(base, rows([written[0], *other, written[2]])) == [True, False, True]
    first = [[(written[0][0] + 1) % 264, *written[0][1:]]]
    assert written_greedily(base, rows([*first, *written[1:]])) == [False, True, True]


def test_an_answer_ends_its_turn_only_when_it_has(pico_llama: Path) -> None:
    base = load_base(pico_llama, name="llama", fingerprint="f", device=torch.device("cpu"))
    form, asked = PromptForm(base.tokenizer), [{"role": "user", "content": "Hi"}]
    prompt = form.prompt(asked)
    cut, whole = form.answer(asked, [5, 6], ended=False), form.answer(asked, [5, 6], ended=True)
    assert (cut.tokens, sum(cut.scored)) == ([*prompt, 5, 6], 2)
    assert whole.tokens[: len(cut.tokens)] == cut.tokens
    assert sum(whole.scored) == len(whole.tokens) - len(prompt) > 2


def test_the_last_state_is_that_of_the_last_reply_token(base: BaseModel) -> None:
    """Also where the pad is the end of a turn, and in conversations of several turns."""
    form = PromptForm(base.tokenizer)
    short = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}]
    rows = [form.row(short), form.row([*short, {"role": "user", "content": "And now?"},
                                       {"role": "assistant", "content": "Now too, as ever."}])]  # fmt: skip
    ends_like_a_pad = [[5, 9, 0], [5, 9, 7, 8, 0]]
    rows += [Row(tokens, [False] * (len(tokens) - 1) + [True]) for tokens in ends_like_a_pad]
    with torch.no_grad():
        last = reply_logits(base, rows).last
        for place, row in enumerate(rows):
            end = max(at for at, scored in enumerate(row.scored) if scored)
            states = base.model.model(input_ids=torch.tensor([row.tokens])).last_hidden_state
            assert torch.allclose(last[place], states[0, end], atol=1e-5)
