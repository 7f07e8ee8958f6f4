#pragma once
/// \file
/// Comma-separated tables, read strictly: every error names file, line and column.

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/file_path.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace hat {

/// The shortest text that reads back as exactly this number.
inline std::string number_text(double value) {
    char buffer[40];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
    return {buffer, end.ptr};
}

/// A table of text cells under named columns (RFC 4180: quotes where a cell holds a comma, a quote or a line break).
class CsvTable {
public:
    /// An empty table to be filled.
    explicit CsvTable(std::vector<std::string> columns) : columns_(std::move(columns)) {}

    /// Reads a file. Throws bad_file, naming file, line and what was expected, if it is missing or empty, if a column
    /// has no name or two have the same, if a line has another number of cells, or if a quote is not closed.
    static CsvTable load(const FilePath& path) {
        CsvTable table({});
        table.file_ = path.string();
        table.parse(read_file(path));
        return table;
    }

    /// Names of the columns, in file order.
    const std::vector<std::string>& columns() const { return columns_; }
    /// Number of rows, without the header.
    std::size_t rows() const { return cells_.size(); }
    /// The file's name.
    const std::string& file() const { return file_; }

    /// The position of a column, or columns().size() if there is none of this name.
    std::size_t find(std::string_view column) const {
        std::size_t i = 0;
        while (i < columns_.size() && columns_[i] != column) ++i;
        return i;
    }
    /// The position of a column that must be there. Throws bad_file.
    std::size_t require(std::string_view column) const {
        const std::size_t i = find(column);
        if (i == columns_.size())
            throw bad_file(file_, 1, "column \"" + std::string(column) + "\" is missing, found: " + join(columns_));
        return i;
    }

    /// A cell as it stands in the file.
    const std::string& text(std::size_t row, std::size_t column) const { return cells_[row][column]; }
    /// The cell as a finite number. Throws bad_file.
    double number(std::size_t row, std::size_t column) const {
        const std::string& cell = cells_[row][column];
        double value = 0;
        const auto [end, code] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
        if (code != std::errc() || end != cell.data() + cell.size() || !std::isfinite(value))
            fail(row, column, "is \"" + cell + "\", expected a finite number");
        return value;
    }
    /// The cell as an unsigned integer. Throws bad_file.
    std::uint64_t integer(std::size_t row, std::size_t column) const {
        const std::string& cell = cells_[row][column];
        std::uint64_t value = 0;
        const auto [end, code] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
        if (code != std::errc() || end != cell.data() + cell.size())
            fail(row, column, "is \"" + cell + "\", expected a whole number of at least 0");
        return value;
    }
    /// Throws bad_file about one cell: "`file`:`line`: column `number` "`name`" `what`".
    [[noreturn]] void fail(std::size_t row, std::size_t column, const std::string& what) const {
        throw bad_file(file_, lines_[row],
                       "column " + std::to_string(column + 1) + " \"" + columns_[column] + "\" " + what);
    }

    /// Appends a row. Throws shape_mismatch if it has not one cell for each column.
    void add(std::vector<std::string> row) {
        if (row.size() != columns_.size())
            throw shape_mismatch("hat::CsvTable::add: the row has " + std::to_string(row.size()) + " cells, expected " +
                                 std::to_string(columns_.size()));
        cells_.push_back(std::move(row));
        lines_.push_back(cells_.size() + 1);
    }
    /// Writes the table atomically. Throws bad_file.
    void save(const FilePath& path) const {
        std::string out = line(columns_);
        for (const auto& row : cells_) out += line(row);
        write_file_atomically(path, out);
    }

private:
    static std::string join(const std::vector<std::string>& names) {
        std::string out;
        for (const auto& name : names) out.append(out.empty() ? "" : ",").append(name);
        return out;
    }
    static std::string line(const std::vector<std::string>& row) {
        std::string out;
        for (std::size_t i = 0; i < row.size(); ++i) {
            if (i) out += ',';
            if (row[i].find_first_of(",\"\r\n") == std::string::npos) {
                out += row[i];
                continue;
            }
            out += '"';
            for (const char c : row[i]) out.append(c == '"' ? 2 : 1, c);
            out += '"';
        }
        return out + "\n";
    }

    /// Splits the records; a record may span lines inside quotes.
    void parse(std::string_view bytes) {
        if (bytes.substr(0, 3) == "\xEF\xBB\xBF") bytes.remove_prefix(3);  // a byte order mark
        if (bytes.empty()) throw bad_file(file_, "the file is empty, expected a line of column names");
        std::size_t at = 0, number = 1;
        while (at < bytes.size()) {
            const std::size_t first_line = number;
            std::vector<std::string> row(1);
            for (bool done = false; !done && at < bytes.size();) {
                const char c = bytes[at];
                if (c == '"') {
                    if (!row.back().empty())
                        throw bad_file(file_, number,
                                       "column " + std::to_string(row.size()) + " has a quote inside an unquoted cell");
                    read_quoted(bytes, at, number, row);
                } else if (c == ',') {
                    row.emplace_back();
                    ++at;
                } else if (c == '\n' || (c == '\r' && at + 1 < bytes.size() && bytes[at + 1] == '\n')) {
                    at += c == '\n' ? 1 : 2;
                    ++number;
                    done = true;
                } else {
                    row.back() += c;
                    ++at;
                }
            }
            take(std::move(row), first_line);
        }
    }
    void read_quoted(std::string_view bytes, std::size_t& at, std::size_t& number, std::vector<std::string>& row) {
        const std::size_t opened = number;
        for (++at;; ++at) {
            if (at == bytes.size())
                throw bad_file(file_, opened, "column " + std::to_string(row.size()) + ": the quote is never closed");
            if (bytes[at] == '"') {
                if (at + 1 == bytes.size() || bytes[at + 1] != '"') break;
                ++at;
            }
            if (bytes[at] == '\n') ++number;
            row.back() += bytes[at];
        }
        ++at;
        if (at < bytes.size() && bytes[at] != ',' && bytes[at] != '\n' && bytes[at] != '\r')
            throw bad_file(file_, number, "column " + std::to_string(row.size()) + " has text after its closing quote");
    }
    void take(std::vector<std::string> row, std::size_t number) {
        if (columns_.empty()) {
            for (std::size_t i = 0; i < row.size(); ++i) {
                if (row[i].empty()) throw bad_file(file_, number, "column " + std::to_string(i + 1) + " has no name");
                for (std::size_t j = 0; j < i; ++j)
                    if (row[i] == row[j]) throw bad_file(file_, number, "column \"" + row[i] + "\" is there twice");
            }
            columns_ = std::move(row);
            return;
        }
        if (row.size() != columns_.size())
            throw bad_file(file_, number,
                           row.size() == 1 && row[0].empty()
                               ? std::string("the line is empty")
                               : "the line has " + std::to_string(row.size()) + " cells, expected " +
                                     std::to_string(columns_.size()));
        cells_.push_back(std::move(row));
        lines_.push_back(number);
    }

    std::string file_;
    std::vector<std::string> columns_;
    std::vector<std::vector<std::string>> cells_;
    std::vector<std::size_t> lines_;  // where each row begins, for messages
};

}  // namespace hat
